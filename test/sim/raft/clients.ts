import type { Cluster } from './cluster.js';
import { isListLinearizable, type ListCall, type Operation } from './linearizability.js';
import { demand } from './oracle.js';
import type { Process } from './process.js';

const TIMEOUT_MS = 2500;
/** A key gets about so many operations, and then others are used: a short history is searched quickly. */
const OPERATIONS_PER_KEY = 30;
const KEYS_AT_ONCE = 3;

/** Clients that write and read, each one thing after the other, through any member, and remember what they were told. */
export class Clients {
  isStopped = false;
  acknowledged = 0;
  reads = 0;
  readonly #cluster: Cluster;
  readonly #thinkMs: number;
  readonly #histories = new Map<string, Operation<ListCall>[]>();
  #number = 0;

  constructor(cluster: Cluster, count: number, thinkMs: number) {
    this.#cluster = cluster;
    this.#thinkMs = thinkMs;
    for (let i = 0; i < count; i++) this.#later();
  }

  /** @throws Violation when what clients saw cannot have happened one after the other */
  check(): void {
    for (const [key, history] of this.#histories) {
      const seen = history.map(({ call, calledMs, returnedMs }) => {
        const what = call.type === 'append' ? `append ${call.value}` : `read [${call.values.join(' ')}]`;
        return `${calledMs.toFixed(1)}-${returnedMs === Number.POSITIVE_INFINITY ? '?' : returnedMs.toFixed(1)} ${what}`;
      });
      demand(isListLinearizable(history), `the history of ${key} is not linearizable:\n  ${seen.join('\n  ')}`);
    }
  }

  #later(): void {
    const { queue, chance } = this.#cluster;
    queue.after(chance.between(0, 2 * this.#thinkMs), () => this.#next());
  }

  #next(): void {
    if (this.isStopped) return;
    const { chance } = this.#cluster;
    const process = chance.pick(this.#cluster.members.filter(({ isPaused }) => !isPaused))?.process;
    if (process === undefined) {
      this.#later();
      return;
    }
    const number = this.#number++;
    const key = `k${KEYS_AT_ONCE * Math.floor(number / OPERATIONS_PER_KEY / KEYS_AT_ONCE) + chance.rng.below(KEYS_AT_ONCE)}`;
    if (chance.percent(50)) this.#append(process, key, `v${number}`);
    else this.#read(process, key, `r${number}`);
  }

  #append(process: Process, key: string, value: string): void {
    const { queue, chance } = this.#cluster;
    const { leaderId } = process.status;
    // A member that does not lead forwards to the one that it takes for the leader, half of the time.
    const isForwarded = leaderId !== undefined && leaderId !== process.id && chance.percent(50);
    const other = isForwarded ? this.#cluster.member(leaderId) : undefined;
    const target = other?.isPaused ? undefined : (other?.process ?? process);
    const operation: Operation<ListCall> = {
      call: { type: 'append', value },
      calledMs: queue.now,
      returnedMs: Number.POSITIVE_INFINITY,
    };
    let isOver = false;
    const end = (): void => {
      if (!isOver) this.#later();
      isOver = true;
    };
    const proposal = target?.write({ key, value }, (outcome) => {
      if (isOver) return;
      if (outcome === 'acknowledged') {
        operation.returnedMs = queue.now;
        this.acknowledged++;
      }
      if (outcome === 'refused') this.#history(key).splice(this.#history(key).indexOf(operation), 1);
      end();
    });
    if (proposal?.type !== 'accepted') {
      end();
      return;
    }
    this.#history(key).push(operation);
    queue.after(TIMEOUT_MS, end);
  }

  #read(process: Process, key: string, readId: string): void {
    const { queue } = this.#cluster;
    const calledMs = queue.now;
    let isOver = false;
    process.read(readId, key, (values) => {
      if (isOver) return;
      isOver = true;
      if (values !== undefined) {
        this.reads++;
        this.#history(key).push({ call: { type: 'read', values }, calledMs, returnedMs: queue.now });
      }
      this.#later();
    });
    queue.after(TIMEOUT_MS, () => {
      if (!isOver) this.#later();
      isOver = true;
    });
  }

  #history(key: string): Operation<ListCall>[] {
    const history = this.#histories.get(key) ?? [];
    this.#histories.set(key, history);
    return history;
  }
}
