import { formatHostPort, type InitRequest, type JoinRequest, parseHostPort } from '@apiary/api/model';
import type { Issuer, LocalNode, LocalNodeStatus, Logs, Manager, Replica } from '@apiary/manager/io';
import { ApiaryError, messageOf, newId, type Sealing } from '@apiary/std';
import {
  type Agent,
  enrol,
  type NodeIdentity,
  readCredentials,
  removeCredentials,
  startAgent,
  writeCredentials,
} from '@apiary/worker/io';
import { advertisementAnew, advertisementOf, readvertise } from './advertisement.js';
import { within } from './deadline.js';
import { readLock, removeLock, type SealedLock } from './lock-file.js';
import type { OpenedLock } from './lock-keeper.js';
import { type LogStart, removeLog, startManagerOf } from './manager-start.js';
import {
  managerAddrOf,
  markLeaving,
  type NodeFile,
  readLeavingFile,
  readNodeFile,
  removeLeavingFile,
  writeNodeFile,
} from './node-file.js';
import { agentOptionsOf, Place } from './place.js';
import type { SwarmNodeOptions } from './swarm-node-options.js';

export type { SwarmNodeOptions };

const NO_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const WORKER =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. " +
  'Please run this command on a manager node or promote the current node to a manager.';
const MEMBER =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';
const LOCKED =
  'Swarm is encrypted and needs to be unlocked before it can be used. ' +
  'Please use "docker swarm unlock" to unlock it.';
const LOCKED_LEAVE = 'Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.';
const NOTHING_TO_FORCE =
  'This node is not part of a swarm: there is no state to make a new cluster from. ' +
  'Leave --force-new-cluster out, or restore a backup with "swarmctl restore".';
const JOINS_ON =
  'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. ' +
  'Use the "docker info" command to see the current swarm status of your node.';
const STOPPING = 'swarmd is stopping: once it is started again, "swarmctl info" says how far it has come';
const LEAVES_ON =
  'Timeout was reached before node left. Its containers are still being stopped and removed, which goes on in the ' +
  'background: the log of swarmd says what is in the way.';

/** How long a node that joins as a manager may take to become a voter before the caller is told to look later. */
const JOIN_TIMEOUT_MS = 20_000;
/** How long a node that leaves may take to stop its containers before the caller is told that it goes on without. */
const LEAVE_TIMEOUT_MS = 60_000;

type Work = 'init' | 'join' | 'leave' | 'unlock';

/**
 * This host's place in a cluster: none, a worker's, or a manager's with a worker beside it. Puts the parts together
 * for each, and remembers on disk which it is: the node file is the last thing written by `init` and `join`, so that a
 * stop between leaves a node that is in no cluster; `leave` renames it first and removes it last, so that a stop
 * between leaves a node that goes on leaving.
 */
export class SwarmNode implements LocalNode {
  readonly #options: SwarmNodeOptions;
  #place: Place | undefined;
  /** Of a node that starts nothing before somebody brings the key. */
  #locked: { file: NodeFile; lock: SealedLock } | undefined;
  /** What is being done to the membership: one thing at a time. */
  #underWay: { what: Work; settled: Promise<unknown> } | undefined;
  #isStopping = false;
  /** Rejects once this node is to stop. */
  readonly #stopping: Promise<never>;
  #cut = () => {};

  constructor(options: SwarmNodeOptions) {
    this.#options = options;
    this.#stopping = new Promise((_, reject) => {
      this.#cut = () => reject(new ApiaryError('unavailable', STOPPING));
    });
    // Mostly nobody waits for anything then.
    this.#stopping.catch(() => undefined);
  }

  /** Takes up the place that this node had when the daemon stopped. */
  async resume(): Promise<void> {
    const { dataRoot } = this.#options;
    const kept = await readNodeFile(dataRoot);
    if (kept === undefined) return this.#resumeLeave();
    const lock = await readLock(dataRoot);
    if (lock === undefined) return this.#takeUp(kept);
    this.#locked = { file: kept, lock };
    this.#options.logger.warn('this manager is locked: unlock it with "swarmctl unlock"');
  }

  async unlock(key: string): Promise<void> {
    await this.#exclusively('unlock', async () => {
      if (this.#locked === undefined) throw new ApiaryError('failed-precondition', 'swarm is not locked');
      const { file, lock } = this.#locked;
      await this.#takeUp(file, { lock: lock.open(key), unlockKey: key });
      this.#locked = undefined;
    });
  }

  async #takeUp(kept: NodeFile, opened?: OpenedLock): Promise<void> {
    const { dataRoot } = this.#options;
    const sealing = opened?.lock.sealing;
    const identity = await this.#identityOf(kept, sealing);
    const file = await readvertise(this.#options, kept);
    if (file.role === 'worker') {
      // A demotion may have been cut short before the log was gone.
      await removeLog(dataRoot);
      this.#place = new Place(this.#options, file, identity, undefined, opened);
      return;
    }
    const start = file.log === 'kept' ? 'resume' : 'join';
    const manager = await startManagerOf(this.#options, file, identity, { start }, sealing);
    this.#place = new Place(this.#options, file, identity, manager, opened);
  }

  async #identityOf(file: NodeFile, sealing: Sealing | undefined): Promise<NodeIdentity> {
    const { dataRoot } = this.#options;
    const identity = await readCredentials(dataRoot, sealing);
    if (identity === undefined) {
      throw new ApiaryError(
        'failed-precondition',
        `${dataRoot}/certificates is missing, but this node belongs to cluster ${file.clusterId}: ` +
          'restore it, or remove the data root to start afresh',
      );
    }
    if (identity.clusterId !== file.clusterId || identity.nodeId !== file.nodeId) {
      throw new ApiaryError(
        'failed-precondition',
        `${dataRoot} is not of one making: its node.json is of node ${file.nodeId} of cluster ${file.clusterId}, ` +
          `its certificate of node ${identity.nodeId} of cluster ${identity.clusterId}: restore what belongs together, ` +
          'or remove the data root to start afresh',
      );
    }
    return identity;
  }

  /** Goes on with a leave that was cut short, beside whatever else: until it is done, this node joins nothing. */
  async #resumeLeave(): Promise<void> {
    const { dataRoot, logger } = this.#options;
    const file = await readLeavingFile(dataRoot);
    if (file === undefined) return;
    logger.info({ clusterId: file.clusterId }, 'leaving a cluster: the leave was cut short');
    this.#exclusively('leave', () => this.#finishLeave(this.#leavingAgent(file), undefined)).catch((error: unknown) => {
      if (!this.#isStopping) logger.error({ err: error }, 'cannot leave the cluster: restart swarmd to try again');
    });
  }

  /**
   * Begins no change of the membership any more, and gives up what waits for others, of one that is under way: whoever
   * asked for it hears so while they can be answered.
   */
  cutShort(): void {
    this.#isStopping = true;
    this.#cut();
  }

  /** Stops what runs in this process. Containers run on. A leave that is under way is finished at the next start. */
  async stop(): Promise<void> {
    this.cutShort();
    await this.#underWay?.settled;
    const place = this.#place;
    this.#place = undefined;
    await place?.stop();
  }

  status(): LocalNodeStatus {
    if (this.#place !== undefined) return this.#place.status();
    if (this.#locked !== undefined) {
      const { nodeId, advertiseAddr: nodeAddr, managers: remoteManagers } = this.#locked.file;
      return { nodeId, nodeAddr, state: 'locked', controlAvailable: false, error: '', remoteManagers };
    }
    const state = this.#underWay === undefined ? 'inactive' : 'pending';
    return { nodeId: '', nodeAddr: '', state, controlAvailable: false, error: '', remoteManagers: [] };
  }

  replica(): Replica {
    return this.#runningManager().replica;
  }

  logs(): Logs {
    return this.#runningManager().logs;
  }

  issuer(): Issuer {
    return this.#runningManager().issuer;
  }

  async rotateLogKey(): Promise<string> {
    return this.#runningManager().rotateLogKey();
  }

  #runningManager(): Manager {
    if (this.#locked !== undefined) throw new ApiaryError('unavailable', LOCKED);
    const manager = this.#place?.manager;
    if (manager === undefined) throw new ApiaryError('not-manager', this.#place === undefined ? NO_SWARM : WORKER);
    return manager;
  }

  /** @returns the id of this node */
  init(request: InitRequest): Promise<string> {
    if (request.ForceNewCluster === true) return this.#exclusively('init', () => this.#forceNewCluster(request));
    return this.#exclusively('init', async () => {
      this.#refuseMember();
      const { dataRoot, clock, rng } = this.#options;
      const advertisement = advertisementOf(request);
      const nodeId = newId(rng);
      const clusterId = newId(rng);
      const { foundCluster } = await import('./founding.js');
      const { identity, log } = await foundCluster(request, { nodeId, clusterId, clock });
      const file: NodeFile = {
        nodeId,
        clusterId,
        role: 'manager',
        log: 'kept',
        ...advertisement,
        managers: [{ nodeId, addr: managerAddrOf(advertisement) }],
      };
      // What an init that was cut short left behind.
      await removeLog(dataRoot);
      await writeCredentials(dataRoot, identity);
      await this.#takePlace(file, identity, await this.#startManager(file, identity, log));
      return nodeId;
    });
  }

  /**
   * Joins the cluster of the manager that the request names; as what, its token says. As a manager, resolves once this
   * node is a voter. A worker whose certificate has expired comes back as the node that it is.
   *
   * @throws ApiaryError `unavailable` in Docker's words when that takes its time: it goes on then
   */
  async join(request: JoinRequest): Promise<void> {
    const place = await this.#exclusively('join', async () => {
      const [remoteAddr] = request.RemoteAddrs ?? [];
      if (this.#place?.isOutOfDate !== true) this.#refuseMember();
      if (remoteAddr === undefined) {
        throw new ApiaryError('invalid-argument', 'at least 1 RemoteAddr is required to join');
      }
      if (this.#place?.isOutOfDate) {
        await this.#place.comeBack({ remoteAddr, joinToken: request.JoinToken ?? '' });
        return this.#place;
      }
      const { dataRoot } = this.#options;
      const advertisement = advertisementOf(request);
      const identity = await this.#unlessStopping(() =>
        enrol({
          remoteAddr,
          joinToken: request.JoinToken ?? '',
          availability: request.Availability ?? '',
          managerAddr: managerAddrOf(advertisement),
        }),
      );
      const file: NodeFile = {
        nodeId: identity.nodeId,
        clusterId: identity.clusterId,
        role: identity.role,
        ...advertisement,
        managers: [{ nodeId: '', addr: formatHostPort(parseHostPort(remoteAddr, 'remote address')) }],
      };
      await removeLog(dataRoot);
      await writeCredentials(dataRoot, identity);
      if (identity.role === 'worker') return this.#takePlace(file, identity, undefined);
      const joining: NodeFile = { ...file, log: 'empty' };
      return this.#takePlace(joining, identity, await this.#startManager(joining, identity, { start: 'join' }));
    });
    if (place.manager === undefined) return;
    const voting = this.#unlessStopping(() => place.voting());
    await within(this.#options.clock, JOIN_TIMEOUT_MS, JOINS_ON, voting);
  }

  /**
   * @returns what it costs those who stay, if anything
   * @throws ApiaryError `failed-precondition` for a manager without `force`, in Docker's words; `unavailable` when the
   *   containers take their time to stop: it goes on then
   */
  leave(force: boolean): Promise<string[]> {
    const leaving = this.#exclusively('leave', async () => {
      if (this.#locked !== undefined) return this.#leaveLocked(this.#locked.file, force);
      const place = this.#place;
      if (place === undefined) throw new ApiaryError('not-manager', 'This node is not part of a swarm');
      const { dataRoot, logger } = this.#options;
      const cost = await this.#unlessStopping(() => this.#resign(place, force));
      if (cost !== undefined) logger.warn(cost);
      // Whoever forgets the membership writes no node file any more.
      this.#place = undefined;
      try {
        await place.holdFile();
        await markLeaving(dataRoot);
      } catch (error) {
        this.#place = place;
        place.releaseFile();
        place.isLeaving = false;
        throw new ApiaryError('internal', `cannot leave: ${messageOf(error)}`, { cause: error });
      }
      await place.settle();
      await this.#finishLeave(place.agent, place.manager);
      return cost === undefined ? [] : [cost];
    });
    return within(this.#options.clock, LEAVE_TIMEOUT_MS, LEAVES_ON, leaving);
  }

  /** What was sealed goes unread: only its containers are needed. */
  async #leaveLocked(file: NodeFile, force: boolean): Promise<string[]> {
    if (!force) throw new ApiaryError('failed-precondition', LOCKED_LEAVE);
    await markLeaving(this.#options.dataRoot);
    this.#locked = undefined;
    await this.#finishLeave(this.#leavingAgent(file), undefined);
    return [];
  }

  /** An agent that serves nobody. */
  #leavingAgent(file: NodeFile): Agent {
    const identity = { ...file, certificateChainPem: '', keyPem: '', rootPem: '' };
    return startAgent({
      ...agentOptionsOf(this.#options, file),
      identity: () => identity,
      managers: () => [],
    });
  }

  /** @returns the id of this node */
  async #forceNewCluster(request: InitRequest): Promise<string> {
    if (this.#locked !== undefined) throw new ApiaryError('unavailable', LOCKED);
    const place = this.#place;
    if (place === undefined) throw new ApiaryError('failed-precondition', NOTHING_TO_FORCE);
    if (place.manager === undefined) throw new ApiaryError('not-manager', WORKER);
    refuseWithQuorum(place.manager);
    await place.forceNewCluster(advertisementAnew(place.file, request));
    return place.file.nodeId;
  }

  /** @returns what it costs the other managers, if anything */
  async #resign(place: Place, force: boolean): Promise<string | undefined> {
    if (place.manager === undefined) return undefined;
    place.isLeaving = true;
    try {
      const { resign } = await import('./departure.js');
      return await resign(place, place.manager, { force, clock: this.#options.clock });
    } catch (error) {
      place.isLeaving = false;
      throw error;
    }
  }

  async #finishLeave(agent: Agent, manager: Manager | undefined): Promise<void> {
    const { dataRoot } = this.#options;
    try {
      await this.#unlessStopping(() => agent.leave());
    } catch (error) {
      await agent.stop();
      throw error;
    } finally {
      await manager?.close();
    }
    await removeCredentials(dataRoot);
    await removeLog(dataRoot);
    await removeLock(dataRoot);
    await removeLeavingFile(dataRoot);
  }

  #startManager(file: NodeFile, identity: NodeIdentity, log: LogStart): Promise<Manager> {
    return startManagerOf(this.#options, file, identity, log);
  }

  /** From when the node file is written, this node is one of the cluster. */
  async #takePlace(file: NodeFile, identity: NodeIdentity, manager: Manager | undefined): Promise<Place> {
    try {
      await writeNodeFile(this.#options.dataRoot, file);
    } catch (error) {
      await manager?.close();
      throw error;
    }
    this.#place = new Place(this.#options, file, identity, manager);
    return this.#place;
  }

  /** @throws ApiaryError `unavailable` when this node is stopped before; `work` is left to itself then */
  async #unlessStopping<R>(work: () => Promise<R>): Promise<R> {
    return this.#isStopping ? this.#stopping : Promise.race([this.#stopping, work()]);
  }

  #refuseMember(): void {
    if (this.#place !== undefined || this.#locked !== undefined) throw new ApiaryError('not-manager', MEMBER);
  }

  #exclusively<R>(what: Work, work: () => Promise<R>): Promise<R> {
    if (this.#isStopping) return Promise.reject(new ApiaryError('unavailable', STOPPING));
    const underWay = this.#underWay;
    if (underWay !== undefined) {
      const message = `swarm ${what}: a swarm ${underWay.what} is under way on this node: try again`;
      return Promise.reject(new ApiaryError('unavailable', message));
    }
    const working = work().finally(() => {
      this.#underWay = undefined;
    });
    this.#underWay = { what, settled: working.catch(() => undefined) };
    return working;
  }
}

/** Those who would go on without this node, and without knowing, make two clusters of one. */
function refuseWithQuorum({ replica }: Manager): void {
  const { leadership, members } = replica;
  const isLed = leadership.role === 'leader' || leadership.leaderId !== undefined;
  if (!isLed || members.voters.length <= 1) return;
  throw new ApiaryError(
    'failed-precondition',
    'This swarm has not lost its quorum: more than half of its managers are online, and --force-new-cluster would ' +
      'split it in two. Remove those that are lost with "swarmctl node demote" and "swarmctl node rm --force"; ' +
      'if managers went down a moment ago, try again.',
  );
}
