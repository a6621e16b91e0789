import { ReplicatedLog } from '@apiary/raft/io';
import type { Clock, Rng, Sealing } from '@apiary/std';
import type { Logger } from 'pino';
import { type ClusterInit, initCluster, raftSettingsOf } from '../core/requests/index.js';
import { renewal } from '../core/trust/index.js';
import { LeaderLoop } from './leader-loop.js';
import { LogKeySchedule } from './log-key-schedule.js';
import { ClusterLogs, LogBroker } from './logs/index.js';
import { MembershipLoop } from './membership-loop.js';
import type { Logs, Replica } from './ports.js';
import { type ManagerIdentity, RaftTransport } from './raft-transport/index.js';
import { StoreReplica } from './replica.js';
import { Dispatcher, nodeCaService, type RpcServer, type ServerIdentity, startRpcServer } from './rpc/index.js';
import { Issuer } from './trust/index.js';

export interface ManagerOptions {
  /** The log's folder. */
  directory: string;
  /** The manager's own; the data of another cluster or member is refused. */
  identity: ManagerIdentity;
  /** How the log begins: as that of a new cluster, empty until the leader sends what it has, or as it is on disk. */
  start: 'bootstrap' | 'join' | 'resume';
  /** What the keys of its log are sealed with; undefined when they lie there in clear. */
  sealing?: Sealing | undefined;
  /** Where nodes are listened for, `HOST:PORT`. */
  listenAddr: string;
  /** Where the other managers and the agents reach this one, `HOST:PORT`. */
  managerAddr: string;
  /** Makes the cluster before anybody is listened for: for the first manager, at `init`. */
  create?: ClusterInit | undefined;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** Something that must hold does not: the process cannot go on. */
  onFatal: (error: unknown) => void;
}

export interface Manager {
  replica: Replica;
  logs: Logs;
  /**
   * Signs a certificate for this manager itself. With the root's key, it needs nobody, nor a certificate that is still
   * good, to get the next one.
   *
   * @returns the certificate, then the root, and the roots to trust from then on: PEM
   * @throws ApiaryError `not-found` when this manager was removed from the cluster; else as `Issuer.node`
   */
  issueOwnCertificate(csrPem: string): Promise<{ certificateChainPem: string; trustPem: string }>;
  /** Signs for the cluster. */
  issuer: Issuer;
  /** As `LocalNode.rotateLogKey`. */
  rotateLogKey(): Promise<string>;
  /** As `ReplicatedLog.sealKeys`. */
  sealKeys(sealing: Sealing | undefined): Promise<void>;
  /** Shows nodes and managers another certificate from the next connection on; what is open goes on. */
  rotate(identity: ServerIdentity): void;
  /**
   * Has `listener` called each time that another manager says that this node is none any more: with a certificate of
   * before it was demoted or removed. If one has said so already, at once.
   */
  onRefused(listener: (reason: string) => void): void;
  /** Stops serving, then the log. What was acknowledged stays on disk. */
  close(): Promise<void>;
}

/** A manager that is stopped waits at most so long for another to lead. */
const HANDOVER_MS = 1_000;

/**
 * Puts a manager together: its log, the state that the log drives, the loop that plans while this manager leads, and
 * the gRPC services for nodes.
 *
 * @throws ApiaryError `failed-precondition` when the log is damaged or the address is taken; nothing runs then
 */
export async function startManager(options: ManagerOptions): Promise<Manager> {
  const { directory, identity, clock, rng, logger, onFatal, create, start, managerAddr } = options;
  let shown = identity;
  let refusal: string | undefined;
  let hearRefusal = (reason: string): void => {
    refusal = reason;
  };
  const closers: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const transport = new RaftTransport({
      identity: () => shown,
      addressOf: (id) => replica.view.node(id)?.managerAddr,
      ownAddr: () => managerAddr,
      onAddress: (id, addr) => membership.noteAddress(id, addr),
      onRefused: (_id, reason) => hearRefusal(reason.message),
      clock,
      rng,
      logger: logger.child({ part: 'wire' }),
    });
    const log = new ReplicatedLog({
      directory,
      identity: { clusterId: identity.clusterId, memberId: identity.nodeId },
      start,
      transport,
      keys: { sealing: options.sealing },
      clock,
      rng,
      logger: logger.child({ part: 'log' }),
      onFatal,
    });
    const replica: StoreReplica = new StoreReplica({ log, clock, rng, onFatal });
    closers.push(() => log.close());
    await replica.open();
    if (create !== undefined) await replica.submit((view) => initCluster(view, create, rng));
    const members = logger.child({ part: 'members' });
    const membership = new MembershipLoop({ replica, selfId: identity.nodeId, clock, logger: members, onFatal });
    closers.push(followSettings(log, replica));
    const logKeys = new LogKeySchedule({ log, clock, rng, logger: logger.child({ part: 'log' }) });
    closers.push(() => logKeys.stop());
    const loop = new LeaderLoop({ replica, clock, rng, logger: logger.child({ part: 'planner' }), onFatal });
    closers.push(() => loop.close());
    closers.push(() => membership.close());
    const issuer = new Issuer({ identity: () => shown, clock });
    const { server, logs } = await serve({ ...options, issuer }, replica, transport, () => shown, closers);
    // Before it is deaf.
    closers.push(() => handOver(replica, clock));
    logger.info({ addr: server.addr }, 'manager: listening for nodes');
    const issueOwnCertificate = async (csrPem: string) => {
      const order = renewal(replica.view, identity);
      return { certificateChainPem: await issuer.node({ ...order, csrPem }), trustPem: order.signer.trustPem };
    };
    const rotate = (next: ServerIdentity): void => {
      shown = { ...shown, ...next };
      server.rotate(next);
    };
    const onRefused = (listener: (reason: string) => void): void => {
      hearRefusal = listener;
      if (refusal !== undefined) listener(refusal);
    };
    const rotateLogKey = () => log.rotateKey();
    const sealKeys = (sealing: Sealing | undefined) => log.sealKeys(sealing);
    return { replica, logs, issuer, issueOwnCertificate, rotateLogKey, sealKeys, rotate, onRefused, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Keeps the log's snapshots as the cluster's spec asks for. @returns what ends that */
function followSettings(log: ReplicatedLog, replica: Replica): () => void {
  const follow = (): void => {
    const cluster = replica.view.cluster();
    if (cluster === undefined) return;
    const { snapshotEntries, trailingEntries, oldSnapshots } = raftSettingsOf(cluster.spec);
    log.configureSnapshots({
      everyEntries: snapshotEntries,
      keepEntries: trailingEntries,
      keepOld: oldSnapshots,
    });
  };
  follow();
  return replica.subscribe((touched) => {
    if (touched.cluster) follow();
  });
}

/** Spares the others the time to find out that this manager is gone. */
async function handOver(replica: Replica, clock: Clock): Promise<void> {
  const { leadership, members, peers } = replica;
  if (leadership.role !== 'leader') return;
  if (!peers.some(({ id, isActive }) => isActive && members.voters.includes(id))) return;
  await new Promise<void>((resolve) => {
    const timer = clock.after(HANDOVER_MS, resolve);
    const done = (): void => {
      timer.cancel();
      resolve();
    };
    replica.transferLeadership().then(done, done);
  });
}

async function serve(
  { identity, listenAddr, clock, rng, logger, issuer }: ManagerOptions & { issuer: Issuer },
  replica: Replica,
  transport: RaftTransport,
  shown: () => ManagerIdentity,
  closers: (() => Promise<void> | void)[],
): Promise<{ server: RpcServer; logs: Logs }> {
  const log = logger.child({ part: 'dispatcher' });
  const dispatcher = new Dispatcher({ replica, clock, log });
  closers.push(() => dispatcher.close());
  const broker = new LogBroker({ replica, agents: dispatcher, clock, rng });
  const logs = new ClusterLogs({ replica, broker, identity: shown, clock });
  closers.push(() => {
    logs.close();
    broker.close();
  });
  const services = [
    nodeCaService({ replica, issuer, clock, rng, log }),
    dispatcher.service,
    transport.service,
    ...broker.services,
  ];
  const server = await startRpcServer({ listenAddr, identity, services, replica, clock });
  closers.push(() => server.close());
  return { server, logs };
}
