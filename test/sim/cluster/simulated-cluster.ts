import { type NodeRecord, removeNode, type ServiceRecord, type View } from '@apiary/manager/core';
import type { Decision, Replica } from '@apiary/manager/io';
import { ApiaryError, newId, type Rng } from '@apiary/std';
import { Chance } from '../raft/chance.js';
import { EventQueue } from '../raft/event-queue.js';
import { demand } from '../raft/oracle.js';
import type { Story } from '../raft/story.js';
import { type HollowContainer, HollowEngine, type ImageBehaviour } from './hollow-engine.js';
import { Host } from './host.js';
import { HostNetwork } from './host-network.js';
import { Oracle } from './oracle.js';
import { RaftWires } from './raft-wires.js';
import type { SimulatedManager } from './simulated-manager.js';

/** After each event, so many turns of the event loop let what waits for promises go on. */
const TURNS = 3;
/** A request of which nothing is heard for so long is given up by who asked. */
const REQUEST_TIMEOUT_MS = 20_000;
/** Sessions that were lost are begun anew by then. */
const CALM_AFTER_MS = 20_000;

export interface ClusterSettings {
  hosts: number;
  managers: number;
  images: ReadonlyMap<string, ImageBehaviour>;
  /** How far the clocks of hosts may be apart. */
  skewMs: number;
}

/** How a request ended; `unknown` when it may or may not have happened, or may still. */
export type RequestOutcome<R> =
  | { type: 'done'; result: R }
  | { type: 'refused'; error: ApiaryError }
  | { type: 'unknown' };

/** Machines with real managers and agents on them, over hollow engines, in virtual time. */
export class SimulatedCluster {
  readonly queue = new EventQueue();
  readonly chance: Chance;
  readonly network: HostNetwork;
  readonly wires: RaftWires;
  readonly hosts: Host[] = [];
  readonly oracle: Oracle;
  readonly images: ReadonlyMap<string, ImageBehaviour>;
  readonly #story: Story;
  readonly #settings: ClusterSettings;
  #failure: unknown;
  #disturbedAtMs = 0;
  #events = 0;

  constructor(settings: ClusterSettings, rng: Rng, story: Story) {
    this.#settings = settings;
    this.#story = story;
    this.chance = new Chance(rng);
    this.images = settings.images;
    this.network = new HostNetwork(this.queue, this.chance);
    this.wires = new RaftWires(this.queue, this.chance, this.network);
    this.oracle = new Oracle({ nowMs: () => this.queue.now, tell: (words) => this.tell(words) });
  }

  /** A cluster with all its hosts, ready to be asked. */
  async begin(): Promise<void> {
    const { hosts, managers } = this.#settings;
    const first = this.#newHost();
    first.found(newId(this.chance.rng), { Raft: {} });
    await this.run(60_000, () => first.manager?.isOpen === true && this.leader !== undefined);
    for (let i = 1; i < hosts; i++) {
      const host = this.#newHost();
      this.join(host, i < managers ? 'manager' : 'worker');
      await this.run(this.nowMs + 60_000, () => host.nodeId !== undefined);
    }
    const isReady = () => {
      const nodes = this.view?.nodes() ?? [];
      return (
        nodes.every(({ status }) => status.state === 'ready') &&
        nodes.filter(({ role }) => role === 'manager').length === managers
      );
    };
    await this.run(this.nowMs + 60_000, isReady);
    if (!isReady()) throw new Error('the cluster does not get together');
  }

  /** Asks for a node's record, as a join does; the host is a node once it is there. */
  join(host: Host, role: 'worker' | 'manager'): void {
    this.request(
      (_, { rng }) => {
        const id = newId(rng);
        const node: Omit<NodeRecord, 'meta'> = {
          id,
          spec: { Labels: {}, Role: role, Availability: 'active' },
          role: 'worker',
          status: { state: 'unknown', message: '', addr: '' },
          ...(role === 'manager' && { managerAddr: host.managerAddr }),
        };
        return { guards: [], changes: [{ type: 'node-create', node }], result: id };
      },
      (outcome) => {
        if (outcome.type !== 'done' || host.nodeId !== undefined || !host.isUp) return;
        this.tell(`${host.name} joins as ${outcome.result.slice(0, 5)}`);
        host.join(outcome.result, this.managerAddrs());
      },
    );
  }

  /** Nothing has failed or come back for a while: whatever was decided before is known wherever it has to be. */
  get isCalm(): boolean {
    return this.nowMs - this.#disturbedAtMs >= CALM_AFTER_MS;
  }

  disturbed(): void {
    this.#disturbedAtMs = this.nowMs;
  }

  get events(): number {
    return this.#events;
  }

  get nowMs(): number {
    return this.queue.now;
  }

  get story(): string[] {
    return this.#story.lines;
  }

  tell(words: string): void {
    this.#story.tell(this.queue.now, words);
  }

  fail(error: unknown): void {
    this.#failure ??= error;
  }

  get managers(): SimulatedManager[] {
    return this.hosts.flatMap(({ manager }) => (manager?.isOpen ? [manager] : []));
  }

  /** Of the newest term, if there is one that believes to lead. */
  get leader(): SimulatedManager | undefined {
    return this.managers
      .filter(({ replica }) => replica.leadership.role === 'leader')
      .sort((a, b) => b.replica.leadership.term - a.replica.leadership.term)[0];
  }

  /** What the leader knows. */
  get view(): View | undefined {
    return this.leader?.replica.view;
  }

  hostOf(nodeId: string): Host | undefined {
    return this.hosts.find((host) => host.nodeId === nodeId);
  }

  service(name: string): ServiceRecord | undefined {
    return this.view?.serviceByName(name);
  }

  managerAddrs(): string[] {
    return this.hosts.filter(({ manager }) => manager !== undefined).map(({ managerAddr }) => managerAddr);
  }

  /** Asks any manager for something, as a client of its API does. */
  request<R>(
    decide: (view: View, context: { nowMs: number; rng: Rng }) => Decision<R>,
    heard: (outcome: RequestOutcome<R>) => void = () => {},
  ): void {
    const manager = this.chance.pick(this.managers);
    if (manager === undefined) {
      heard({ type: 'unknown' });
      return;
    }
    let isOver = false;
    const end = (outcome: RequestOutcome<R>): void => {
      if (!isOver) this.guard(() => heard(outcome));
      isOver = true;
    };
    this.queue.after(REQUEST_TIMEOUT_MS, () => end({ type: 'unknown' }));
    manager.process.run(() => {
      manager.replica.submit(decide).then(
        (result) => end({ type: 'done', result }),
        (error: unknown) => {
          if (!(error instanceof ApiaryError)) this.fail(error);
          else if (error.code === 'unavailable') end({ type: 'unknown' });
          else end({ type: 'refused', error });
        },
      );
    });
  }

  removeNode(nodeId: string): void {
    this.request((view) => removeNode(view, { id: nodeId, force: true }));
  }

  /** Lets virtual time pass. @throws what went wrong */
  async run(untilMs: number, isDone: () => boolean = () => false): Promise<void> {
    while (!isDone()) {
      if (!this.queue.runNext(untilMs)) {
        this.queue.now = untilMs;
        break;
      }
      this.#events++;
      for (let i = 0; i < TURNS; i++) await new Promise((resolve) => setImmediate(resolve));
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(error);
    }
  }

  #newHost(): Host {
    const name = `h${this.hosts.length + 1}`;
    const { queue, chance, network, wires, images, oracle } = this;
    const watcher = {
      started: (...args: Parameters<Oracle['started']>) => this.guard(() => oracle.started(...args)),
      stopping: (_: HollowEngine, container: HollowContainer) => this.guard(() => this.#stopping(name, container)),
      ended: () => {},
    };
    const engine = new HollowEngine(name, { queue, chance, images, watcher });
    oracle.watch(engine);
    const skewMs = this.chance.between(-this.#settings.skewMs, this.#settings.skewMs);
    const host = new Host(name, engine, skewMs, {
      ...{ queue, chance, network, wires },
      tell: (words) => this.tell(words),
      fail: (error) => this.fail(error),
      disturbed: () => this.disturbed(),
      onReplica: (at, replica) => this.#observe(at, replica),
      hostAt: (addr) => this.hosts.find(({ managerAddr }) => managerAddr === addr),
      certifyingMs: () => this.leader?.process.clock.now(),
    });
    this.hosts.push(host);
    return host;
  }

  /** Nobody is led to a task any more when it is told to end. */
  #stopping(name: string, { taskId }: HollowContainer): void {
    const host = this.hosts.find((each) => each.name === name);
    demand(
      !this.isCalm || host?.network?.leadsTo(taskId) !== true,
      `${this.oracle.nameOf(taskId)} is stopped while ${name} still leads to it`,
    );
  }

  #observe(host: string, replica: Replica): void {
    replica.subscribe((touched) => this.guard(() => this.oracle.applied(replica.view, touched)));
    replica.onLeadership(({ role, term }) => {
      this.disturbed();
      if (role === 'leader') {
        this.oracle.leaderships++;
        this.tell(`${host} leads in term ${term}`);
      }
    });
  }
}
