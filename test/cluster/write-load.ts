import { setTimeout as elapse } from 'node:timers/promises';
import type { ApiClient } from '@apiary/api/client';
import type { Service } from '@apiary/api/model';
import { ApiaryError, messageOf } from '@apiary/std';
import { until } from '../hosts/index.js';
import { type Cluster, serviceSpec } from './cluster.js';

/** How a request ended, for who must know whether it has happened. */
type Ending<T> =
  | { type: 'acknowledged'; value: T }
  /** It certainly did not happen. */
  | { type: 'refused'; error: ApiaryError }
  /** Nobody answered, or the answer was that nobody knows. */
  | { type: 'unknown'; error: unknown };

/** A value in a service's labels that one writer alone counts up. */
interface Register {
  name: string;
  count: number;
  /** Names the update that wrote it. */
  attempt: string;
  /** Updates since then of which nobody said whether they happened; at most one of them may have. */
  open: string[];
}

const REQUEST_TIMEOUT_MS = 8_000;
/** Between a writer's requests: a steady load that leaves the machine time for what is tested. */
const PACE_MS = 15;
const PACE_AFTER_FAILURE_MS = 50;
/** Of the services that a writer made, so many are left; older ones it removes. */
const KEPT = 5;

/**
 * A steady load of writes through the API of the managers that live, and its bookkeeping: seen from outside alone, no
 * acknowledged write may be lost, and none may happen twice. Each writer counts up a register (a label of a service,
 * under the version that it read), makes services and removes them. What it reads must be what was acknowledged last,
 * whichever manager answers: that is a check of linearizable reads too.
 */
export class WriteLoad {
  readonly #cluster: Cluster;
  readonly #managers: () => readonly number[];
  readonly #registers: Register[];
  /** Name to id, acknowledged. */
  readonly #made = new Map<string, string>();
  readonly #removed = new Set<string>();
  /** Names that may be there or not: nobody said. */
  readonly #open = new Set<string>();
  readonly #problems: string[] = [];
  #writers: Promise<unknown> = Promise.resolve();
  #isRunning = false;
  #turn = 0;
  #attempts = 0;
  #names = 0;
  #acknowledged = 0;
  #lastAtMs = 0;
  #longestGapMs = 0;
  #lastFailure = 'none';

  /** @param managers  the numbers of the hosts whose API is asked, now */
  constructor(cluster: Cluster, managers: () => readonly number[], writers = 4) {
    this.#cluster = cluster;
    this.#managers = managers;
    const names = Array.from({ length: writers }, (_, i) => `register-${i}`);
    this.#registers = names.map((name) => ({ name, count: 0, attempt: 'first', open: [] }));
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** The longest time between two acknowledged writes since the last call, in ms. */
  takeLongestGapMs(): number {
    const gap = Math.max(this.#longestGapMs, performance.now() - this.#lastAtMs);
    this.#longestGapMs = 0;
    return gap;
  }

  async start(): Promise<void> {
    for (const { name, count, attempt } of this.#registers) {
      await this.#client().createService(registerSpec(name, count, attempt));
    }
    this.resume();
  }

  /** Goes on writing after `stop`. */
  resume(): void {
    this.#isRunning = true;
    this.#lastAtMs = performance.now();
    this.#writers = Promise.all(this.#registers.map((register) => this.#write(register)));
  }

  /** Resolves once `count` more writes are acknowledged. */
  async goesOn(count = 20, timeoutMs = 30_000): Promise<void> {
    const from = this.#acknowledged;
    const what = `${count} more writes to be acknowledged`;
    const enough = () => {
      if (this.#acknowledged - from >= count) return true;
      throw new Error(`${this.#acknowledged - from} were; the last failure: ${this.#lastFailure}`);
    };
    await until(what, enough, { timeoutMs, hopeless: () => this.#problems[0] });
  }

  /** Resolves once no request is under way any more. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    await this.#writers;
  }

  /** Compares what a manager says is there with what was acknowledged. @returns all that does not fit; empty is well */
  async problems(number: number): Promise<string[]> {
    const services = await this.#cluster.client(number).services();
    const found = [...this.#problems];
    const ids = new Map(services.map(({ ID, Spec }) => [Spec.Name ?? '', ID]));
    if (ids.size !== services.length) found.push('two services have the same name');
    for (const [name, id] of this.#made) {
      if (ids.get(name) !== id) found.push(`${name} was acknowledged as ${id}, is ${ids.get(name) ?? 'lost'}`);
    }
    for (const name of this.#removed) if (ids.has(name)) found.push(`${name} was removed, and is there`);
    for (const name of ids.keys()) {
      const isKnown = this.#made.has(name) || this.#open.has(name) || !name.startsWith('made-');
      if (!isKnown) found.push(`${name} is there, and nobody made it`);
    }
    for (const register of this.#registers) {
      const service = services.find(({ Spec }) => Spec.Name === register.name);
      if (service === undefined) found.push(`${register.name} is lost`);
      else this.#check({ ...register }, service, found);
    }
    return found.map((problem) => `seen through h${number}: ${problem}`);
  }

  async #write(register: Register): Promise<void> {
    const made: string[] = [];
    for (let i = 0; this.#isRunning; i++) {
      const isDone =
        i % 3 === 0 ? await this.#makeAndRemove(`made-${++this.#names}`, made) : await this.#countUp(register);
      await elapse(isDone ? PACE_MS : PACE_AFTER_FAILURE_MS);
    }
  }

  async #countUp(register: Register): Promise<boolean> {
    const read = await this.#ask((client, signal) =>
      client.request<Service>('GET', `/services/${register.name}`, { signal }),
    );
    if (read.type !== 'acknowledged') {
      if (read.type === 'refused') this.#problems.push(`${register.name} cannot be read: ${read.error.message}`);
      return false;
    }
    const { ID, Version } = read.value;
    this.#check(register, read.value, this.#problems);
    const attempt = `a${++this.#attempts}`;
    const count = register.count + 1;
    const body = registerSpec(register.name, count, attempt);
    const ending = await this.#ask((client, signal) =>
      client.request('POST', `/services/${ID}/update`, { query: { version: Version.Index }, body, signal }),
    );
    if (ending.type === 'acknowledged') {
      Object.assign(register, { count, attempt, open: [] });
      this.#count();
    } else if (ending.type === 'unknown') register.open.push(attempt);
    else this.#expectRefusal(ending.error, ['out-of-sequence'], register.name);
    return ending.type === 'acknowledged';
  }

  /** What is there must be what was acknowledged last, or one of the updates of which nobody said. */
  #check(register: Register, { PreviousSpec, Spec }: Service, problems: string[]): void {
    const { name, count, attempt, open } = register;
    const found = Spec.Labels?.['attempt'] ?? '';
    const counted = Number(Spec.Labels?.['count']);
    const before = PreviousSpec?.Labels?.['attempt'];
    if (before === found) problems.push(`${name}: update ${found} happened twice`);
    if (found === attempt && counted === count) return;
    if (open.includes(found) && counted === count + 1 && before === attempt) {
      Object.assign(register, { count: counted, attempt: found, open: [] });
      return;
    }
    problems.push(`${name} has ${found} (${counted}) after ${before}, ${attempt} (${count}) was acknowledged`);
  }

  async #makeAndRemove(name: string, made: string[]): Promise<boolean> {
    const body = serviceSpec(name, { replicas: 0 });
    const ending = await this.#ask((client, signal) =>
      client.request<{ ID: string }>('POST', '/services/create', { body, signal }),
    );
    if (ending.type === 'acknowledged') {
      this.#made.set(name, ending.value.ID);
      made.push(name);
      this.#count();
    } else if (ending.type === 'unknown') this.#open.add(name);
    else this.#expectRefusal(ending.error, [], name);
    const [oldest] = made;
    if (made.length <= KEPT || oldest === undefined) return ending.type === 'acknowledged';
    made.shift();
    return this.#remove(oldest);
  }

  async #remove(name: string): Promise<boolean> {
    const id = this.#made.get(name);
    const removal = await this.#ask((client, signal) => client.request('DELETE', `/services/${id}`, { signal }));
    if (removal.type === 'acknowledged') {
      this.#made.delete(name);
      this.#removed.add(name);
      this.#count();
    } else if (removal.type === 'unknown') {
      this.#made.delete(name);
      this.#open.add(name);
    } else this.#expectRefusal(removal.error, [], name);
    return removal.type === 'acknowledged';
  }

  /** A full disk and a node that is no manager any more may refuse; what else refuses must be expected. */
  #expectRefusal(error: ApiaryError, expected: readonly string[], name: string): void {
    if (['resource-exhausted', 'not-manager', ...expected].includes(error.code)) return;
    this.#problems.push(`${name}: refused with ${error.code}: ${error.message}`);
  }

  async #ask<T>(request: (client: ApiClient, signal: AbortSignal) => Promise<T>): Promise<Ending<T>> {
    try {
      return { type: 'acknowledged', value: await request(this.#client(), AbortSignal.timeout(REQUEST_TIMEOUT_MS)) };
    } catch (error) {
      this.#lastFailure = messageOf(error);
      if (error instanceof ApiaryError && error.code !== 'unavailable') return { type: 'refused', error };
      return { type: 'unknown', error };
    }
  }

  #client(): ApiClient {
    const managers = this.#managers();
    const number = managers[this.#turn++ % managers.length];
    if (number === undefined) throw new ApiaryError('unavailable', 'no manager lives');
    return this.#cluster.client(number);
  }

  #count(): void {
    const now = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastAtMs);
    this.#lastAtMs = now;
    this.#acknowledged++;
  }
}

function registerSpec(name: string, count: number, attempt: string) {
  return { ...serviceSpec(name, { replicas: 0 }), Labels: { count: `${count}`, attempt } };
}
