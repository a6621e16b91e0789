import { FULL_NANO_CPUS } from './hollow-engine.js';
import type { Host } from './host.js';
import type { SimulatedCluster } from './simulated-cluster.js';

export const FAULTS = [
  'cut-off',
  'flap',
  'split',
  'cut-off-leader',
  'hand-over',
  'kill',
  'kill-leader',
  'crash',
  'pause',
  'engine-down',
  'engine-crash',
  'engine-errors',
  'slow-engine',
  'exit',
  'many-exits',
  'unhealthy',
  'remove-node',
  'more-resources',
  'fewer-resources',
] as const;
export type Fault = (typeof FAULTS)[number];

/** Breaks what can break of a cluster's hosts, and mends it after a while. */
export class Faults {
  readonly counts = new Map<Fault, number>();
  readonly #cluster: SimulatedCluster;
  #isOver = false;

  constructor(cluster: SimulatedCluster) {
    this.#cluster = cluster;
  }

  cause(fault: Fault): void {
    if (this.#isOver || !this.#inflict(fault)) return;
    this.#cluster.disturbed();
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }

  /** Mends everything. */
  end(): void {
    this.#isOver = true;
    this.#cluster.disturbed();
    this.#cluster.tell('all faults end');
    this.#cluster.network.heal();
    for (const host of this.#cluster.hosts) {
      host.boot();
      host.engine.comeUp();
      host.engine.resize(Math.max(host.engine.resources.NanoCPUs, FULL_NANO_CPUS));
      host.process?.resume();
      host.startDaemon();
    }
  }

  #inflict(fault: Fault): boolean {
    const { chance, hosts, leader, network } = this.#cluster;
    const host = chance.pick(hosts.filter(({ process }) => process !== undefined));
    if (host === undefined) return false;
    const { name, engine } = host;
    const tell = (words: string): void => this.#cluster.tell(words);
    const ofLeader = hosts.find(({ manager }) => manager !== undefined && manager === leader);
    switch (fault) {
      case 'cut-off':
        tell(`${name} is cut off`);
        this.#cutOff(host, chance.between(200, 30_000));
        return true;
      case 'flap':
        tell(`${name}'s link flaps`);
        this.#flap(host, 3 + chance.rng.below(8));
        return true;
      case 'split':
        return this.#split();
      case 'cut-off-leader':
        if (ofLeader === undefined) return false;
        tell(`${ofLeader.name}, the leader, is cut off`);
        this.#cutOff(ofLeader, chance.between(1_000, 20_000));
        return true;
      case 'hand-over':
        leader?.transferLeadership();
        return leader !== undefined;
      case 'kill':
        this.#kill(host);
        return true;
      case 'kill-leader':
        if (ofLeader === undefined) return false;
        this.#kill(ofLeader);
        return true;
      case 'crash':
        tell(`${name} loses power`);
        host.crash();
        this.#later(chance.between(500, 40_000), () => host.boot());
        return true;
      case 'pause': {
        const { process } = host;
        tell(`${name}'s daemon stands still`);
        process?.pause();
        this.#later(chance.between(100, 6_000), () => process?.resume());
        return true;
      }
      case 'exit':
        for (const { id } of engine.running.slice(0, 1)) engine.exit(id, chance.rng.below(2));
        return engine.running.length > 0;
      case 'many-exits':
        for (const { running } of hosts.map((each) => each.engine)) {
          for (const { id } of running) if (chance.percent(40)) this.#exit(id);
        }
        return true;
      case 'unhealthy':
        for (const { id, health } of engine.running) if (health === 'healthy') engine.setHealth(id, 'unhealthy');
        return true;
      case 'remove-node':
        return this.#removeNode(host);
      case 'more-resources':
        engine.resize(engine.resources.NanoCPUs + 1e9);
        return true;
      case 'fewer-resources':
        tell(`${name} has only 3 CPUs left`);
        engine.resize(3e9);
        return true;
      default:
        this.#breakEngine(fault, host);
        return network !== undefined;
    }
  }

  #breakEngine(fault: 'engine-down' | 'engine-crash' | 'engine-errors' | 'slow-engine', { name, engine }: Host): void {
    const { chance } = this.#cluster;
    this.#cluster.tell(`${name}: ${fault}`);
    switch (fault) {
      case 'engine-down':
      case 'engine-crash':
        engine.goDown(fault === 'engine-crash');
        this.#later(chance.between(200, 15_000), () => engine.comeUp());
        return;
      case 'engine-errors':
        engine.mood = { failPercent: chance.between(5, 60), slowMs: 0 };
        break;
      case 'slow-engine':
        engine.mood = { failPercent: 0, slowMs: chance.between(500, 8_000) };
    }
    this.#later(chance.between(1_000, 20_000), () => engine.recover());
  }

  #exit(id: string): void {
    for (const { engine } of this.#cluster.hosts) engine.exit(id, this.#cluster.chance.rng.below(2));
  }

  #kill(host: Host): void {
    this.#cluster.tell(`${host.name}'s daemon is killed`);
    host.killDaemon();
    const { chance } = this.#cluster;
    this.#later(chance.percent(50) ? chance.between(50, 2_000) : chance.between(2_000, 15_000), () =>
      host.startDaemon(),
    );
  }

  /** A worker's record is removed, perhaps while it is away; the host joins again once it knows. */
  #removeNode(host: Host): boolean {
    const { chance } = this.#cluster;
    const { nodeId } = host;
    const node = nodeId === undefined ? undefined : this.#cluster.view?.node(nodeId);
    if (nodeId === undefined || node === undefined || node.role === 'manager' || node.spec.Role === 'manager')
      return false;
    this.#cluster.tell(`${host.name} is removed`);
    if (chance.percent(40)) this.#cutOff(host, chance.between(1_000, 20_000));
    this.#cluster.removeNode(nodeId);
    return true;
  }

  #cutOff(host: Host, forMs: number): void {
    const { hosts, network } = this.#cluster;
    for (const { name } of hosts) network.cut(host.name, name);
    this.#later(forMs, () => {
      this.#cluster.tell(`${host.name} is back`);
      network.heal((a, b) => a === host.name || b === host.name);
    });
  }

  #flap(host: Host, times: number): void {
    const { chance } = this.#cluster;
    if (times === 0) return;
    this.#cutOff(host, chance.between(50, 4_000));
    this.#later(chance.between(4_000, 6_000), () => this.#flap(host, times - 1));
  }

  #split(): boolean {
    const { chance, hosts, network } = this.#cluster;
    const side = new Set(hosts.filter(() => chance.percent(50)).map(({ name }) => name));
    this.#cluster.tell(`${[...side].join('+') || 'nobody'} and the others do not hear each other`);
    for (const { name: a } of hosts)
      for (const { name: b } of hosts) if (side.has(a) !== side.has(b)) network.cut(a, b);
    this.#later(chance.between(500, 25_000), () => {
      this.#cluster.tell('all links work again');
      network.heal();
    });
    return true;
  }

  #later(delayMs: number, run: () => void): void {
    this.#cluster.queue.after(delayMs, () => {
      this.#cluster.disturbed();
      if (!this.#isOver) this.#cluster.guard(run);
    });
  }
}
