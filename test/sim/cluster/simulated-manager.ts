import { rpcStatusOf } from '@apiary/api/client';
import { type Caller, type ClusterInit, initCluster, memberRefusalOf, refusalOf } from '@apiary/manager/core';
import { type AgentCall, Dispatcher, LeaderLoop, MembershipLoop, type Replica, StoreReplica } from '@apiary/manager/io';
import { type FileSystem, ReplicatedLog, type Start, type Transport } from '@apiary/raft/io';
import { SeededRng } from '@apiary/std';
import { Metadata } from '@grpc/grpc-js';
import { pino } from 'pino';
import type { SimulatedProcess } from './simulated-process.js';

export const CLUSTER_ID = 'simulated';
export const SILENT = pino({ level: 'silent' });

export interface SimulatedManagerOptions {
  nodeId: string;
  process: SimulatedProcess;
  seed: number;
  files: FileSystem;
  start: Start;
  create?: ClusterInit;
  transport(mayTakePart: (member: Caller) => boolean): Transport;
  /** Something broke that must not. */
  onFatal(error: unknown): void;
  /** The replica is there, and nothing has been applied yet. */
  onReplica(replica: Replica): void;
}

/** All of a manager but its sockets: the log, the state, the loops of a leader, and the agents' sessions. */
export class SimulatedManager {
  readonly nodeId: string;
  readonly process: SimulatedProcess;
  readonly replica: StoreReplica;
  readonly #options: SimulatedManagerOptions;
  readonly #log: ReplicatedLog;
  #dispatcher: Dispatcher | undefined;

  constructor(options: SimulatedManagerOptions) {
    const { nodeId, process, seed, files, start, onFatal } = options;
    const { clock } = process;
    this.#options = options;
    this.nodeId = nodeId;
    this.process = process;
    const rng = new SeededRng(seed);
    this.#log = new ReplicatedLog({
      directory: '/raft',
      identity: { clusterId: CLUSTER_ID, memberId: nodeId },
      start,
      transport: options.transport((member) => this.#mayTakePart(member)),
      clock,
      rng,
      files,
      // Seconds as in life, in fewer and longer ticks. Snapshots come so often that who was away gets one.
      tickMs: 100,
      node: { electionTicks: 10, heartbeatTicks: 2, hintTicks: 2 },
      snapshots: { everyEntries: 60, keepEntries: 20 },
      segmentBytes: 256 * 1024,
      onFatal,
    });
    this.replica = new StoreReplica({ log: this.#log, clock, rng, onFatal });
    options.onReplica(this.replica);
    void this.#open(rng).catch((error: unknown) => {
      if (!process.isDead) onFatal(error);
    });
  }

  /** Whether it has its state, and takes requests and sessions. */
  get isOpen(): boolean {
    return this.#dispatcher !== undefined;
  }

  transferLeadership(): void {
    this.replica.transferLeadership().catch(() => {});
  }

  /** An agent opens a session: judged as at the managers' door. */
  admit(call: AgentCall, caller: Caller): void {
    const judge = () => refusalOf(this.replica.view, caller, 'node', this.process.clock.now());
    const answer = (refusal: ReturnType<typeof judge>): void => {
      if (refusal === undefined) this.#dispatcher?.accept(call, caller.nodeId);
      else call.emit('error', { ...rpcStatusOf(refusal), metadata: new Metadata() });
    };
    const refusal = judge();
    if (refusal?.code !== 'not-found') answer(refusal);
    else {
      this.replica.barrier().then(
        () => answer(judge()),
        (error: unknown) => call.emit('error', { ...rpcStatusOf(error), metadata: new Metadata() }),
      );
    }
  }

  async #open(rng: SeededRng): Promise<void> {
    const { replica } = this;
    const { nodeId, process, create, onFatal } = this.#options;
    const { clock } = process;
    await replica.open();
    if (create !== undefined) await replica.submit((view) => initCluster(view, create, rng));
    new LeaderLoop({ replica, clock, rng, logger: SILENT, onFatal });
    new MembershipLoop({ replica, selfId: nodeId, clock, logger: SILENT, onFatal });
    this.#dispatcher = new Dispatcher({ replica, clock, log: SILENT });
  }

  #mayTakePart(member: Caller): boolean {
    const own = { clusterId: CLUSTER_ID, excluded: this.replica.view.cluster()?.excluded };
    return memberRefusalOf(member, own, this.process.clock.now()) === undefined;
  }
}
