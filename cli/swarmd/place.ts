import { createKeyAndCsr } from '@apiary/api/client';
import type { LocalNodeStatus, Manager } from '@apiary/manager/io';
import { ApiaryError, messageOf, type Timer } from '@apiary/std';
import {
  type Agent,
  CertificateRenewal,
  enrol,
  type NodeIdentity,
  nodeIdentityOf,
  renewAtAny,
  startAgent,
} from '@apiary/worker/io';
import { resolveDataPathAddr } from './address.js';
import type { Advertisement } from './advertisement.js';
import { LockKeeper, type OpenedLock } from './lock-keeper.js';
import { logDirectory, managersToCall, removeLog, startManagerOf } from './manager-start.js';
import { managerAddrOf, type NodeFile, writeNodeFile } from './node-file.js';
import { RoleKeeper } from './role-keeper.js';
import type { SwarmNodeOptions } from './swarm-node-options.js';
import { TrustKeeper } from './trust-keeper.js';

/** So long a manager that stands aside looks for a leader. */
const ASIDE_MS = 30_000;

/**
 * This node's place in its cluster, at work: the agent, the certificate and, while the node is a manager, the manager.
 * What the leader says of the node's role, of the managers' addresses and of the end of its membership is followed here,
 * and kept in the node file.
 */
export class Place {
  readonly #options: SwarmNodeOptions;
  readonly #agent: Agent;
  readonly #renewal: CertificateRenewal;
  readonly #roles: RoleKeeper;
  readonly #lock: LockKeeper;
  readonly #trust: TrustKeeper;
  /** Ends the following of what this node's manager knows of locks. */
  #unfollowLock = () => {};
  #file: NodeFile;
  #manager: Manager | undefined;
  /** It is about to go: the others may say so before the leader does, and that is no news. */
  isLeaving = false;
  /** Empty, or why this node cannot take part although it is a member. */
  #gone = '';
  #writing: Promise<void> = Promise.resolve();
  /** The end of what runs of a node that is none of the cluster any more. */
  #going: Promise<void> = Promise.resolve();
  /** The certificate with which this node's manager stood aside. */
  #asideWith = '';
  #asideTimer: Timer | undefined;
  /** Whether the node file is left alone. */
  #isFileHeld = false;
  readonly #roleListeners = new Set<() => void>();
  readonly #votingListeners: (() => void)[] = [];

  /** @param opened  of a node that was locked when it started */
  constructor(
    options: SwarmNodeOptions,
    file: NodeFile,
    identity: NodeIdentity,
    manager: Manager | undefined,
    opened?: OpenedLock,
  ) {
    this.#options = options;
    this.#file = file;
    const { dataRoot, clock, rng, logger } = options;
    this.#renewal = new CertificateRenewal({
      identity,
      dataRoot,
      sealing: () => this.#lock.sealing,
      renew: (current, signal) => this.#renew(current, signal),
      onRenewed: (renewed) => this.#manager?.rotate(renewed),
      clock,
      rng,
      logger: logger.child({ part: 'certificate' }),
    });
    this.#lock = new LockKeeper({
      dataRoot,
      opened,
      reseal: async (sealing) => {
        await this.#manager?.sealKeys(sealing);
        await this.#renewal.rewrite();
      },
      clock,
      logger: logger.child({ part: 'lock' }),
    });
    this.#trust = new TrustKeeper({
      identity: () => this.#renewal.identity,
      renew: () => this.#renewal.renewNow(),
      trust: (rootPem) => this.#renewal.trust(rootPem),
      onChanged: () => this.#agent.describe(),
      clock,
      logger: logger.child({ part: 'trust' }),
    });
    this.#roles = new RoleKeeper({
      facts: () => ({
        kept: this.#file.role,
        certified: this.#renewal.identity.role,
        runs: this.#manager !== undefined,
      }),
      steps: {
        renew: () => this.#renewForRole(),
        'become-manager': () => this.#becomeManager(),
        'become-worker': () => this.#becomeWorker(),
      },
      clock,
      rng,
      logger: logger.child({ part: 'role' }),
    });
    if (manager !== undefined) this.#adopt(manager);
    else this.#lock.follow(undefined);
    this.#agent = startAgent({
      ...agentOptionsOf(options, file),
      identity: () => this.#renewal.identity,
      managers: () => this.#managersToCall(),
      managerAddr: () => (this.#manager === undefined ? '' : managerAddrOf(this.#file)),
      onManagers: (managers) => this.#remember(managers),
      onRole: (role) => {
        this.#asideTimer?.cancel();
        this.#roles.tell(role);
        for (const listener of this.#roleListeners) listener();
      },
      onTrust: (trust) => this.#trust.follow(trust),
      onGone: (reason) => this.#goneFrom(reason),
    });
  }

  get file(): NodeFile {
    return this.#file;
  }

  get manager(): Manager | undefined {
    return this.#manager;
  }

  get agent(): Agent {
    return this.#agent;
  }

  /** What the leader said last of what this node is to be. */
  get told(): 'worker' | 'manager' | undefined {
    return this.#roles.told;
  }

  get identity(): NodeIdentity {
    return this.#renewal.identity;
  }

  status(): LocalNodeStatus {
    const { nodeId, advertiseAddr, managers } = this.#file;
    const error = this.#gone || this.#renewal.error || this.#roles.error;
    return {
      nodeId,
      nodeAddr: advertiseAddr,
      state: error === '' ? 'active' : 'error',
      controlAvailable: this.#manager !== undefined,
      error,
      remoteManagers: managers,
    };
  }

  /** Calls `listener` whenever the leader says what this node is to be; returns what ends that. */
  onTold(listener: () => void): () => void {
    this.#roleListeners.add(listener);
    return () => this.#roleListeners.delete(listener);
  }

  /** The node file is not written once this has resolved, until it is released. */
  async holdFile(): Promise<void> {
    this.#isFileHeld = true;
    await this.#writing;
  }

  releaseFile(): void {
    this.#isFileHeld = false;
  }

  /** Resolves once this node's manager is a voter. */
  voting(): Promise<void> {
    const manager = this.#manager;
    // Not by the node file, which says so only once it is written.
    if (manager !== undefined && isVoter(manager, this.#file.nodeId)) return Promise.resolve();
    return new Promise((resolve) => this.#votingListeners.push(resolve));
  }

  /**
   * Makes this node's manager, whose others are lost, the only one of the cluster. The agent and its containers go on.
   *
   * @throws ApiaryError `failed-precondition` when its log cannot be used; it goes on as it was then
   */
  async forceNewCluster(advertisement: Advertisement): Promise<void> {
    const { dataRoot, clock, logger } = this.#options;
    await this.#roles.aside(async () => {
      await this.#closeManager();
      try {
        await this.#change(advertisement);
        const { forceNewClusterAt } = await import('@apiary/manager/io');
        await forceNewClusterAt({
          directory: logDirectory(dataRoot),
          identity: this.#file,
          sealing: this.#lock.sealing,
          managerAddr: managerAddrOf(this.#file),
          addr: this.#file.advertiseAddr,
          nowMs: clock.now(),
          logger: logger.child({ part: 'log' }),
        });
        await this.#change({ log: 'kept', managers: [{ nodeId: this.#file.nodeId, addr: managerAddrOf(this.#file) }] });
        logger.warn('this node is the only manager of its cluster now');
      } finally {
        this.#adopt(await this.#startManager());
      }
    });
    this.#agent.describe();
  }

  /** Whether nobody lets this node in any more, until it has come back with a token. */
  get isOutOfDate(): boolean {
    return this.#manager === undefined && this.#renewal.hasExpired;
  }

  /** Takes up this node's place again, with a token. @throws ApiaryError as `enrol` */
  async comeBack(request: { remoteAddr: string; joinToken: string }): Promise<void> {
    await this.#renewal.adopt(await enrol({ ...request, former: this.#renewal.identity }));
    this.#remember([{ nodeId: '', addr: request.remoteAddr }, ...this.#file.managers]);
    this.#agent.reconnect();
  }

  /** Nothing of what the leader says is followed any more. */
  async settle(): Promise<void> {
    this.#asideTimer?.cancel();
    // A certificate that is waited for is waited for no more.
    await Promise.all([this.#roles.stop(), this.#trust.stop(), this.#lock.stop(), this.#renewal.stop()]);
    await this.#going;
    await this.holdFile();
  }

  /** Stops what runs in this process. Containers run on. */
  async stop(): Promise<void> {
    await this.settle();
    await this.#agent.stop();
    await this.#manager?.close();
  }

  #managersToCall(): string[] {
    return managersToCall(this.#file, this.#manager !== undefined);
  }

  /** A manager signs for itself, even if it was off for longer than its certificate; a worker asks whoever answers. */
  async #renew(current: NodeIdentity, signal: AbortSignal): Promise<NodeIdentity> {
    const { rng } = this.#options;
    const manager = this.#manager;
    if (manager === undefined) return renewAtAny(this.#managersToCall(), { identity: current, signal, rng });
    const { keyPem, csrPem } = createKeyAndCsr();
    const { certificateChainPem, trustPem } = await manager.issueOwnCertificate(csrPem);
    return nodeIdentityOf(certificateChainPem, keyPem, trustPem);
  }

  /** Whoever signed may know more, or less, than the leader did when it spoke: it is asked again, as who we are now. */
  async #renewForRole(): Promise<void> {
    const { role } = await this.#renewal.renewNow();
    if (role === this.#roles.told) return;
    this.#roles.tell(undefined);
    this.#agent.reconnect();
  }

  async #becomeManager(): Promise<void> {
    const { dataRoot, logger } = this.#options;
    if (this.#file.role === 'worker') {
      // What an earlier manager here left behind is of no use to this one.
      await removeLog(dataRoot);
      await this.#change({ role: 'manager', log: 'empty' });
    }
    this.#adopt(await this.#startManager());
    this.#agent.describe();
    logger.info('this node runs a manager now');
  }

  async #becomeWorker(): Promise<void> {
    const { dataRoot, logger } = this.#options;
    await this.#change({ role: 'worker', log: undefined });
    await this.#closeManager();
    await removeLog(dataRoot);
    this.#lock.follow(undefined);
    this.#agent.describe();
    logger.info('this node is a worker now: its copy of the state of the cluster is removed');
  }

  #startManager(): Promise<Manager> {
    const start = this.#file.log === 'kept' ? 'resume' : 'join';
    return startManagerOf(this.#options, this.#file, this.#renewal.identity, { start }, this.#lock.sealing);
  }

  async #closeManager(): Promise<void> {
    this.#unfollowLock();
    const manager = this.#manager;
    this.#manager = undefined;
    await manager?.close();
  }

  /**
   * Another manager, of a state that knows of this node's end as one, lets it take part no more. It may be that only the
   * others noticed, or that the cluster goes on without it and those that came back with it: in either case the leader is
   * asked what this node is to be, and until it has spoken nothing is done in the cluster's name.
   */
  #standAside(manager: Manager, reason: string): void {
    const { certificateChainPem } = this.#renewal.identity;
    if (this.#manager !== manager || this.#asideWith === certificateChainPem || this.isLeaving) return;
    // Once for each certificate: whoever says it may be the one that lags behind.
    this.#asideWith = certificateChainPem;
    const { clock, logger } = this.#options;
    logger.warn({ reason }, 'the manager of this node stands aside until the leader has said what it is to be');
    this.#roles.tell(undefined);
    this.#asideTimer?.cancel();
    this.#asideTimer = clock.after(ASIDE_MS, () => {
      logger.warn('no leader is found: the manager of this node takes part again');
      if (this.#roles.told === undefined) this.#roles.tell(this.#file.role);
    });
    this.#roles
      .aside(() => this.#closeManager())
      .then(() => this.#agent.reconnect())
      .catch((error: unknown) => {
        // Who stops meanwhile need not stand aside.
        if (!(error instanceof ApiaryError)) this.#options.onFatal(error);
      });
  }

  /** From when this manager is a voter, its log is one that must not be lost. */
  #adopt(manager: Manager): void {
    this.#manager = manager;
    manager.onRefused((reason) => this.#standAside(manager, reason));
    this.#followLock(manager);
    if (this.#file.log === 'kept') return;
    const look = () => {
      const isOver = this.#manager !== manager;
      if (!isOver && !isVoter(manager, this.#file.nodeId)) return;
      stop();
      if (isOver) return;
      this.#changeLater({ log: 'kept' });
      for (const listener of this.#votingListeners.splice(0)) listener();
    };
    const stop = manager.replica.onMembers(look);
    look();
  }

  /** A manager that has the state of no cluster yet stays as it is. */
  #followLock({ replica }: Manager): void {
    const follow = () => {
      const cluster = replica.view.cluster();
      if (cluster !== undefined) this.#lock.follow(cluster.unlockKey);
    };
    this.#unfollowLock = replica.subscribe((touched) => {
      if (touched.cluster) follow();
    });
    follow();
  }

  #goneFrom(reason: string): void {
    this.#gone = `${reason}; run "swarmctl leave", then join again`;
    this.#going = Promise.all([this.#roles.stop(), this.#trust.stop(), this.#renewal.stop()])
      .then(() => this.#closeManager())
      .catch((error: unknown) => this.#options.onFatal(error));
  }

  /** What the managers said of where they are is kept for the next start; to lose it costs a detour, no more. */
  #remember(managers: NodeFile['managers']): void {
    if (JSON.stringify(this.#file.managers) === JSON.stringify(managers)) return;
    this.#file = { ...this.#file, managers };
    this.#changeLater({});
  }

  #changeLater(change: Partial<NodeFile>): void {
    this.#change(change).catch((error: unknown) => {
      if (!this.#isFileHeld) this.#options.logger.warn({ err: error }, 'cannot write the node file');
    });
  }

  /** Writes the node file, one change after the other; what could not be written has not changed. */
  #change(change: Partial<NodeFile>): Promise<void> {
    const changed = this.#writing.then(async () => {
      if (this.#isFileHeld) throw new ApiaryError('unavailable', 'this node is stopping, or leaves');
      await writeNodeFile(this.#options.dataRoot, { ...this.#file, ...change });
      this.#file = { ...this.#file, ...change };
    });
    this.#writing = changed.catch(() => undefined);
    return changed;
  }
}

export function isVoter(manager: Manager, nodeId: string): boolean {
  return manager.replica.members.voters.includes(nodeId);
}

export function agentOptionsOf(options: SwarmNodeOptions, { advertiseAddr, dataPath }: NodeFile) {
  const { engine, genericResources = [], network, contentsDirectory, history, clock, rng, logger } = options;
  const agentLogger = logger.child({ part: 'agent' });
  return {
    advertiseAddr,
    dataPathAddr: dataPathAddrNow(dataPath, agentLogger),
    engine,
    genericResources,
    ...(network !== undefined && { network }),
    ...(contentsDirectory !== undefined && { contentsDirectory }),
    ...(history !== undefined && { history }),
    clock,
    rng,
    logger: agentLogger,
  };
}

/** Where what is sent between hosts comes from now; undefined: from the advertised address, also when the interface has none. */
function dataPathAddrNow(dataPath: string | undefined, logger: SwarmNodeOptions['logger']): string | undefined {
  try {
    return resolveDataPathAddr(dataPath);
  } catch (error) {
    logger.warn({ reason: messageOf(error) }, 'data between hosts goes by the advertised address');
    return undefined;
  }
}
