import type { Caller, ClusterInit } from '@apiary/manager/core';
import type { Replica } from '@apiary/manager/io';
import { SimulatedDisk } from '@apiary/raft/io/simulated-disk';
import { ApiaryError, SeededRng } from '@apiary/std';
import { type Agent, type SessionWire, type SessionWireHandlers, startAgent } from '@apiary/worker/io';
import type { Chance } from '../raft/chance.js';
import type { EventQueue } from '../raft/event-queue.js';
import { TimedFiles } from '../raft/timed-files.js';
import type { HollowEngine } from './hollow-engine.js';
import { HollowNetwork } from './hollow-network.js';
import type { HostNetwork } from './host-network.js';
import type { RaftWires } from './raft-wires.js';
import { addressOf, SessionStream } from './session-stream.js';
import { CLUSTER_ID, SILENT, SimulatedManager } from './simulated-manager.js';
import { SimulatedProcess } from './simulated-process.js';

/** What a host needs of the simulation. */
export interface HostWorld {
  queue: EventQueue;
  chance: Chance;
  network: HostNetwork;
  wires: RaftWires;
  tell(words: string): void;
  fail(error: unknown): void;
  /** Something fails, or comes back. */
  disturbed(): void;
  /** A manager's copy of the state, that nothing has been applied to yet. */
  onReplica(host: string, replica: Replica): void;
  hostAt(managerAddr: string): Host | undefined;
  /** The clock of who gives out certificates now: the leader's. */
  certifyingMs(): number | undefined;
}

/** A machine: its disk, its engine, and the daemon on it, which is an agent and perhaps a manager. */
export class Host {
  readonly name: string;
  readonly engine: HollowEngine;
  readonly managerAddr: string;
  /** Undefined while it is of no cluster. */
  nodeId: string | undefined;
  readonly #world: HostWorld;
  readonly #skewMs: number;
  #disk: SimulatedDisk;
  #process: SimulatedProcess | undefined;
  #agent: Agent | undefined;
  #network: HollowNetwork | undefined;
  #manager: SimulatedManager | undefined;
  /** In the daemon's files: whether it is a manager, and where managers are. */
  #keepsManager = false;
  #managers: string[] = [];
  /** When it got the certificate that it takes part in the managers' log with. */
  #certifiedMs = 0;
  #isUp = true;
  /** Sessions of its agent, and those that its manager was asked for. */
  readonly #opened = new Set<SessionStream>();
  readonly #served = new Set<SessionStream>();

  constructor(name: string, engine: HollowEngine, skewMs: number, world: HostWorld) {
    this.name = name;
    this.engine = engine;
    this.managerAddr = `${addressOf(name)}:2377`;
    this.#skewMs = skewMs;
    this.#world = world;
    this.#disk = new SimulatedDisk(world.chance.rng);
  }

  /** The power is on. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** The daemon runs: it may stand still. */
  get process(): SimulatedProcess | undefined {
    return this.#process;
  }

  get manager(): SimulatedManager | undefined {
    return this.#manager;
  }

  /** What its agent makes of what it is told of networks; undefined while there is none. */
  get network(): HollowNetwork | undefined {
    return this.#network;
  }

  /** Makes the cluster, with this host as its first node. */
  found(nodeId: string, spec: ClusterInit['spec']): void {
    this.nodeId = nodeId;
    this.#keepsManager = true;
    this.#startDaemon('bootstrap', {
      clusterId: CLUSTER_ID,
      nodeId,
      ...(spec !== undefined && { spec }),
      rootCa: { certificatePem: '', keyPem: '' },
      availability: 'active',
      addr: addressOf(this.name),
      managerAddr: this.managerAddr,
    });
  }

  /** Its record is there: from now on it is a node of the cluster, whose managers are at `managers`. */
  join(nodeId: string, managers: string[]): void {
    this.nodeId = nodeId;
    this.#managers = managers;
    this.#startDaemon('join');
  }

  killDaemon(): void {
    this.#end(true);
  }

  startDaemon(): void {
    if (this.#isUp && this.#process === undefined && this.nodeId !== undefined) this.#startDaemon('resume');
  }

  /** The power goes, and with it all that runs. */
  crash(): void {
    this.#isUp = false;
    this.#end(false);
    this.engine.goDown(true);
    this.#disk.cutPower();
  }

  boot(): void {
    if (this.#isUp) return;
    this.#isUp = true;
    this.engine.comeUp();
    this.startDaemon();
  }

  /** Its operator sees that the agent has cleared up, and takes what is left of the node from its disk. */
  #leaveLater(nodeId: string): void {
    this.#world.queue.after(this.#world.chance.between(500, 10_000), () => {
      if (this.nodeId !== nodeId) return;
      if (this.#process === undefined || this.engine.running.length > 0) {
        this.#leaveLater(nodeId);
        return;
      }
      this.#end(true);
      this.nodeId = undefined;
      this.#keepsManager = false;
      this.#disk = new SimulatedDisk(this.#world.chance.rng);
    });
  }

  #startDaemon(start: 'bootstrap' | 'join' | 'resume', create?: ClusterInit): void {
    const { queue } = this.#world;
    this.#world.disturbed();
    const process = new SimulatedProcess(queue, this.#skewMs);
    this.#process = process;
    if (this.#keepsManager) this.#startManager(process, start, create);
    const nodeId = this.nodeId ?? '';
    const hollowNetwork = new HollowNetwork(process.clock);
    this.#network = hollowNetwork;
    this.#agent = startAgent({
      identity: () => ({
        nodeId,
        clusterId: CLUSTER_ID,
        role: 'worker',
        certificateChainPem: '',
        keyPem: '',
        rootPem: '',
      }),
      managers: () => (this.#keepsManager ? [this.managerAddr, ...this.#managers] : this.#managers),
      advertiseAddr: addressOf(this.name),
      engine: this.engine.portFor(process),
      network: () => hollowNetwork,
      clock: process.clock,
      rng: this.#newRng(),
      logger: SILENT,
      onManagers: (managers) => {
        this.#managers = managers.map(({ addr }) => addr);
      },
      onRole: (role) => this.#follow(process, role),
      onGone: () => {
        this.#world.tell(`${this.name} hears that it is of the cluster no more`);
        this.#leaveLater(nodeId);
      },
      managerAddr: () => (this.#manager === undefined ? '' : this.managerAddr),
      dial: (manager, handlers) => this.#dial(process, manager, handlers),
    });
  }

  #startManager(process: SimulatedProcess, start: 'bootstrap' | 'join' | 'resume', create?: ClusterInit): void {
    const { queue, chance, wires, fail, onReplica } = this.#world;
    const { name } = this;
    const files = new TimedFiles(
      this.#disk.mount(),
      () => new Promise((resolve) => queue.after(chance.between(0.05, 1), () => process.run(resolve))),
    );
    this.#manager = new SimulatedManager({
      nodeId: this.nodeId ?? '',
      process,
      seed: chance.rng.below(2 ** 32),
      files,
      start,
      ...(create !== undefined && { create }),
      transport: (mayTakePart) => {
        const certificate = this.#certificate('manager', this.#certifiedMs);
        return wires.transport(this.nodeId ?? '', { host: name, process, certificate, mayTakePart });
      },
      onFatal: fail,
      onReplica: (replica) => onReplica(name, replica),
    });
  }

  /** Becomes what the leader says that it is to be. */
  #follow(process: SimulatedProcess, role: 'worker' | 'manager'): void {
    if (process !== this.#process) return;
    if (role === 'manager' && this.#manager === undefined) {
      this.#world.tell(`${this.name} starts a manager`);
      this.#keepsManager = true;
      this.#certifiedMs = this.#world.certifyingMs() ?? process.clock.now();
      this.#startManager(process, 'join');
      this.#agent?.describe();
    }
    if (role === 'worker' && this.#keepsManager) {
      // What is left of the manager's promises would need a process of its own: the daemon starts anew without it.
      this.#world.tell(`${this.name} is a manager no more`);
      this.#end(true);
      this.#keepsManager = false;
      this.#disk = new SimulatedDisk(this.#world.chance.rng);
      this.#world.queue.after(1, () => this.startDaemon());
    }
  }

  #dial(process: SimulatedProcess, addr: string, handlers: SessionWireHandlers): SessionWire {
    const { network, hostAt, queue } = this.#world;
    const host = hostAt(addr);
    if (host === undefined || !host.isUp || network.isCut(this.name, host.name)) return NOWHERE;
    const { manager } = host;
    if (!manager?.isOpen) {
      const error = new ApiaryError('unavailable', `no manager listens at ${addr}`);
      queue.after(1, () => process.run(() => handlers.failed(error, undefined)));
      return NOWHERE;
    }
    const own = { host: this.name, process };
    const stream = new SessionStream(network, own, { host: host.name, process: manager.process }, handlers);
    this.#opened.add(stream);
    host.#served.add(stream);
    const caller = this.#certificate('worker', process.clock.now());
    network.carry(this.name, host.name, () => manager.process.run(() => manager.admit(stream.managerEnd, caller)));
    return stream.agentEnd;
  }

  #certificate(role: Caller['role'], issuedMs: number): Caller {
    const validUntilMs = Number.MAX_SAFE_INTEGER;
    return { nodeId: this.nodeId ?? '', role, clusterId: CLUSTER_ID, issuedMs, validUntilMs };
  }

  /** @param isHeard  the host lives, and its kernel says to others that the daemon does not */
  #end(isHeard: boolean): void {
    const { network, wires, queue, chance } = this.#world;
    this.#process?.kill();
    this.#process = undefined;
    this.#agent = undefined;
    this.#network = undefined;
    this.#world.disturbed();
    if (this.#manager !== undefined) wires.gone(this.nodeId ?? '', isHeard);
    this.#manager = undefined;
    const lose = (stream: SessionStream, end: 'agent' | 'manager'): void => {
      if (isHeard) network.carry(this.name, stream[end].host, () => stream.loseFor(end));
      // By its keepalive, when nothing is heard.
      queue.after(chance.between(5_000, 15_000), () => stream.loseFor(end));
    };
    for (const stream of this.#opened) lose(stream, 'manager');
    for (const stream of this.#served) lose(stream, 'agent');
    this.#opened.clear();
    this.#served.clear();
  }

  #newRng(): SeededRng {
    return new SeededRng(this.#world.chance.rng.below(2 ** 32));
  }
}

/** Nothing answers there. */
const NOWHERE: SessionWire = { write: () => {}, end: () => {}, isConnected: () => false, close: () => {} };
