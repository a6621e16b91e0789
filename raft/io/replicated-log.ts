import { ApiaryError, type Clock, invariant, messageOf, newId, type Rng, type Sealing } from '@apiary/std';
import {
  DEFAULT_OPTIONS,
  type Identity,
  type Leadership,
  type Log,
  MAX_PAYLOAD_BYTES,
  type MemberId,
  type Membership,
  type MembershipChange,
  NO_MEMBERSHIP,
  type NodeOptions,
  type NodeStatus,
  type PeerStatus,
  type ProposeOptions,
  type StateMachine,
} from '../core/index.js';
import { Barriers } from './barriers.js';
import { type FileSystem, NodeFileSystem } from './file-system.js';
import { type Logger, silentLogger } from './logger.js';
import { MemberDriver, type MemberEvents } from './member-driver.js';
import { MemberStorage, type MemberStorageOptions, type Opened } from './member-storage.js';
import { Proposals } from './proposals.js';
import { behind, noLeader, notMade, refusedChange, tooLarge } from './refusals.js';
import { DEFAULT_SNAPSHOTS, type SnapshotChoice, type SnapshotSettings } from './snapshot-schedule.js';
import { checkStart, type Start } from './start-check.js';
import { TickSource } from './tick-source.js';
import { NotAcceptedError, type Transport, type TransportReceiver } from './transport.js';

export interface ReplicatedLogOptions {
  /** Made when missing, for the owner only. Holds the write-ahead log and the snapshots. */
  directory: string;
  /** Written into each file; the data of another cluster or member is refused. */
  identity: Identity;
  start: Start;
  transport: Transport;
  clock: Clock;
  /** Spreads the elections; also for ids. */
  rng: Rng;
  snapshots?: Partial<SnapshotSettings>;
  /** How Raft behaves; the same in all members. Times are in ticks of `tickMs` (20 ms). */
  node?: Partial<Omit<NodeOptions, 'id' | 'rng' | 'reads'>>;
  tickMs?: number;
  /** So long a proposal or a read waits for a leader, and a proposal whose leader was lost for its outcome (5 s). */
  leaderTimeoutMs?: number;
  segmentBytes?: number;
  /** As `MemberStorageOptions` has it: undefined for a log in clear. */
  keys?: MemberStorageOptions['keys'];
  files?: FileSystem;
  logger?: Logger;
  /** A bug of ours came to light: the log has stopped, and the process should end. */
  onFatal?: (error: unknown) => void;
}

type Complete = Required<Omit<ReplicatedLogOptions, 'keys'>> &
  Pick<ReplicatedLogOptions, 'keys'> & { snapshots: SnapshotSettings; node: NodeOptions };

/** What is only looked at now and then: deadlines, who answers, proposals that a leader did not take. */
const SWEEP_TICKS = 5;

interface Running {
  driver: MemberDriver;
  proposals: Proposals;
}

/** The log of a cluster's managers: this member's part of it, on disk and on the wire. */
export class ReplicatedLog implements Log {
  readonly #options: Complete;
  readonly #leadershipListeners = new Set<(leadership: Leadership) => void>();
  readonly #memberListeners = new Set<() => void>();
  #leadership: Leadership = { role: 'follower', term: 0 };
  #members: Membership = NO_MEMBERSHIP;
  #peers: readonly PeerStatus[] = [];
  readonly #barriers: Barriers;
  #handovers: { term: number; resolve: () => void; reject: (error: unknown) => void }[] = [];
  /** From `open` to `close`. */
  #running: Running | undefined;
  #ticks: TickSource | undefined;
  #ticksToSweep = SWEEP_TICKS;
  #isOpened = false;
  /** Why nothing is accepted any more, or not yet. */
  #refusal: ApiaryError;
  #isAccepting = false;
  /** What it stopped for by itself. */
  #failure: { error: unknown } | undefined;
  /** What the disk said when it last refused. */
  #diskError: ApiaryError | undefined;

  constructor(options: ReplicatedLogOptions) {
    const { directory, identity, rng } = options;
    this.#options = {
      tickMs: 20,
      leaderTimeoutMs: 5_000,
      segmentBytes: 16 * 1024 * 1024,
      files: new NodeFileSystem(),
      logger: silentLogger,
      onFatal: () => {},
      ...options,
      snapshots: { ...DEFAULT_SNAPSHOTS, ...options.snapshots },
      node: { ...DEFAULT_OPTIONS, ...options.node, id: identity.memberId, rng },
    };
    const { maxEntryBytes } = this.#options.node;
    invariant(2 * maxEntryBytes <= MAX_PAYLOAD_BYTES, `an entry with a membership must fit ${MAX_PAYLOAD_BYTES} bytes`);
    this.#refusal = new ApiaryError('unavailable', `${directory}: the log is not open`);
    this.#barriers = new Barriers(`${identity.memberId}-${newId(rng)}`);
  }

  get leadership(): Leadership {
    return this.#leadership;
  }

  onLeadership(listener: (leadership: Leadership) => void): () => void {
    this.#leadershipListeners.add(listener);
    return () => this.#leadershipListeners.delete(listener);
  }

  get members(): Membership {
    return this.#members;
  }

  get peers(): readonly PeerStatus[] {
    return this.#peers;
  }

  onMembers(listener: () => void): () => void {
    this.#memberListeners.add(listener);
    return () => this.#memberListeners.delete(listener);
  }

  async open(machine: StateMachine): Promise<void> {
    invariant(!this.#isOpened, 'a log is opened once');
    this.#isOpened = true;
    const { directory, identity, start, keys, files, logger, segmentBytes } = this.#options;
    checkStart(files, directory, start);
    const timed = keys && { now: () => this.#options.clock.now(), ...keys };
    const storage: MemberStorageOptions = { directory, identity, keys: timed, files, logger, segmentBytes };
    if (start === 'bootstrap') storage.bootstrap = { voters: [identity.memberId], learners: [] };
    const opened = await MemberStorage.open(storage);
    try {
      this.#running = this.#run(opened, machine);
    } catch (error) {
      await opened.storage.close();
      throw error;
    }
    try {
      await this.#begin(this.#running);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  propose(entry: Uint8Array, { asLeaderOf }: ProposeOptions = {}): Promise<number> {
    if (!this.#isAccepting || this.#running === undefined) return Promise.reject(this.#refusal);
    const { role, term } = this.#leadership;
    if (asLeaderOf !== undefined && (role !== 'leader' || term !== asLeaderOf)) {
      return Promise.reject(notMade(`this manager does not lead in term ${asLeaderOf}`));
    }
    return this.#running.proposals.submit(entry, { isRepeatable: asLeaderOf === undefined });
  }

  barrier(): Promise<void> {
    if (!this.#isAccepting || this.#running === undefined) return Promise.reject(this.#refusal);
    const { clock, leaderTimeoutMs } = this.#options;
    this.#running.driver.schedule();
    return this.#barriers.wait(clock.now() + leaderTimeoutMs);
  }

  changeMembers(
    change: MembershipChange,
    entry: Uint8Array,
    { isForced = false }: { isForced?: boolean } = {},
  ): Promise<number> {
    if (!this.#isAccepting || this.#running === undefined) return Promise.reject(this.#refusal);
    const { driver, proposals } = this.#running;
    const { directory, node } = this.#options;
    if (entry.length > node.maxEntryBytes) {
      return Promise.reject(tooLarge(directory, entry.length, node.maxEntryBytes));
    }
    const outcome = driver.node.proposeMembership(change, entry, { isForced });
    if (outcome.type === 'refused') return Promise.reject(refusedChange(outcome.reason, change, driver.node.status));
    driver.schedule();
    return proposals.follow(outcome, entry);
  }

  transferLeadership(to?: MemberId): Promise<void> {
    if (!this.#isAccepting || this.#running === undefined) return Promise.reject(this.#refusal);
    const { driver } = this.#running;
    const { status } = driver.node;
    if (status.role !== 'leader') return Promise.resolve();
    const heir = to ?? heirOf(status);
    if (heir === undefined || !driver.node.transfer(heir)) {
      const why = to === undefined ? 'no other manager with a vote answers' : `${to} is no other manager with a vote`;
      return Promise.reject(new ApiaryError('failed-precondition', `the leadership cannot be handed over: ${why}`));
    }
    driver.schedule();
    return new Promise((resolve, reject) => this.#handovers.push({ term: status.term, resolve, reject }));
  }

  /**
   * Encrypts what is written from now on with a new key of this member's own, and makes the one before superfluous.
   *
   * @returns the new key's id
   * @throws ApiaryError as `MemberStorage.rotateKey`
   */
  rotateKey(): Promise<string> {
    if (!this.#isAccepting || this.#running === undefined) return Promise.reject(this.#refusal);
    return this.#running.driver.rotateKey();
  }

  /** When the key was made that is written with now, milliseconds since the epoch; undefined when that is not known. */
  get keyMadeAtMs(): number | undefined {
    return this.#running?.driver.keyMadeAtMs;
  }

  /** Seals this member's key file in another way from now on, or writes it in clear. @throws as `rotateKey` does */
  async sealKeys(sealing: Sealing | undefined): Promise<void> {
    if (!this.#isAccepting || this.#running === undefined) throw this.#refusal;
    await this.#running.driver.sealKeys(sealing);
  }

  /** How often snapshots are taken from now on, and what of the log before them is kept. Each member has its own. */
  configureSnapshots(choice: SnapshotChoice): void {
    this.#running?.driver.configureSnapshots(choice);
  }

  async close(): Promise<void> {
    this.#stop(new ApiaryError('unavailable', 'this node stops being a manager now: ask another'));
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    await this.#options.transport.close();
    await running.driver.close();
  }

  #run(opened: Opened, machine: StateMachine): Running {
    const { directory, node, snapshots, transport, clock, logger, leaderTimeoutMs } = this.#options;
    const events = this.#events();
    const driver = new MemberDriver({ directory, node, snapshots, transport, machine, logger, events }, opened);
    const proposals = new Proposals({
      directory,
      driver,
      transport,
      clock,
      maxEntryBytes: node.maxEntryBytes,
      timeoutMs: leaderTimeoutMs,
      leadership: () => this.#leadership,
    });
    return { driver, proposals };
  }

  async #begin({ driver, proposals }: Running): Promise<void> {
    const { directory, identity, transport, clock, tickMs, logger } = this.#options;
    transport.start(this.#receiver({ driver, proposals }));
    driver.pump();
    if (this.#failure !== undefined) throw this.#failure.error;
    const { lastIndex, commit } = driver.node.status;
    logger.info({ directory, appliedIndex: driver.applied.index, commit, lastIndex }, 'log read');
    this.#ticks = new TickSource(clock, tickMs, (count) => this.#tick({ driver, proposals }, count));
    const { voters } = this.#members;
    if (voters.length === 1 && voters[0] === identity.memberId) {
      // Nobody else could be elected; and what was acknowledged may be known to be committed only then.
      driver.node.campaign();
      driver.schedule();
      await this.#barriers.wait(Number.POSITIVE_INFINITY);
    }
    this.#isAccepting = true;
  }

  #receiver({ driver, proposals }: Running): TransportReceiver {
    return {
      receive: (message) => {
        if (this.#running === undefined || this.#failure !== undefined) return;
        try {
          driver.node.step(message);
        } catch (error) {
          this.#fail(error);
        }
        driver.schedule();
      },
      unreachable: (peer) => {
        driver.node.unreachable(peer);
        driver.schedule();
      },
      accept: async (entry) => {
        if (!this.#isAccepting) throw new NotAcceptedError(this.#refusal.message);
        return proposals.accept(entry);
      },
    };
  }

  #events(): MemberEvents {
    return {
      pumping: () => this.#askReads(),
      applied: ({ index, term }) => {
        this.#running?.proposals.applied(index, term);
        this.#barriers.applied(index);
      },
      restored: ({ index }) => {
        this.#running?.proposals.restored(index);
        this.#barriers.applied(index);
      },
      read: (outcome) => this.#barriers.answered(outcome, this.#running?.driver.applied.index ?? 0),
      refused: (error, givenUp) => {
        this.#diskError = error;
        if (givenUp !== undefined) this.#running?.proposals.takenBack(givenUp, error);
        // Who opens it should hear that it cannot be written.
        if (!this.#isAccepting) this.#barriers.rejectAll(error);
      },
      pumped: () => this.#observe(),
      failed: (error) => this.#fail(error),
    };
  }

  #tick({ driver, proposals }: Running, count: number): void {
    for (let i = 0; i < count; i++) driver.node.tick();
    this.#ticksToSweep -= count;
    if (this.#ticksToSweep <= 0) {
      this.#ticksToSweep = SWEEP_TICKS;
      const { status } = driver.node;
      const unled = (): ApiaryError => (status.isDiskFailed ? this.#diskError : undefined) ?? noLeader();
      proposals.sweep({ canApply: !status.isDiskFailed, unled });
      this.#barriers.expire(this.#options.clock.now(), { unled, behind });
      this.#lookAtPeers(status);
    }
    driver.pump();
  }

  #askReads(): void {
    const { role, leaderId } = { leaderId: undefined, ...this.#leadership };
    if (role !== 'leader' && leaderId === undefined) return;
    const readId = this.#barriers.ask();
    if (readId !== undefined) this.#running?.driver.node.readIndex(readId);
  }

  /** Tells what has changed. */
  #observe(): void {
    const running = this.#running;
    if (running === undefined) return;
    const { status } = running.driver.node;
    const { role, term, leaderId, membership } = status;
    const known = this.#leadership;
    const isMembershipNew = membership !== this.#members;
    if (isMembershipNew) {
      this.#members = membership;
      const { memberId } = this.#options.identity;
      this.#options.transport.keep([...membership.voters, ...membership.learners].filter((id) => id !== memberId));
    }
    const knownId = known.role === 'leader' ? this.#options.identity.memberId : known.leaderId;
    const isLed = (role === 'leader') === (known.role === 'leader') && leaderId === knownId && term === known.term;
    if (!isLed) {
      if (role === 'leader') this.#lead({ role, term });
      else this.#lead(leaderId === undefined ? { role: 'follower', term } : { role: 'follower', term, leaderId });
      running.proposals.leaderChanged();
      running.driver.schedule();
    }
    if (isMembershipNew || !isLed) this.#lookAtPeers(status, isMembershipNew);
    if (this.#handovers.length > 0) this.#settleHandovers(status);
  }

  #lead(leadership: Leadership): void {
    const { directory, logger } = this.#options;
    if (leadership.role !== this.#leadership.role || leadership.role === 'leader') {
      logger.info({ directory, ...leadership }, leadership.role === 'leader' ? 'leads' : 'leads no more');
    }
    this.#leadership = leadership;
    for (const listener of this.#leadershipListeners) listener(leadership);
  }

  #lookAtPeers(status: NodeStatus, isMembershipNew = false): void {
    const { maxAppendEntries } = this.#options.node;
    const peers = status.peers.map(({ id, isActive, matchIndex }) => ({
      id,
      isActive,
      isCaughtUp: matchIndex > 0 && status.lastIndex - matchIndex <= maxAppendEntries,
    }));
    const isSame =
      peers.length === this.#peers.length &&
      peers.every(({ id, isActive, isCaughtUp }, i) => {
        const known = this.#peers[i];
        return known?.id === id && known.isActive === isActive && known.isCaughtUp === isCaughtUp;
      });
    if (!isSame) this.#peers = peers;
    if (!isSame || isMembershipNew) for (const listener of this.#memberListeners) listener();
  }

  #settleHandovers({ role, term, isTransferring }: NodeStatus): void {
    for (const handover of this.#handovers.splice(0)) {
      if (role !== 'leader' || term !== handover.term) handover.resolve();
      else if (isTransferring) this.#handovers.push(handover);
      else handover.reject(new ApiaryError('unavailable', 'no other manager took over the leadership in time'));
    }
  }

  /** It cannot go on: a disk that failed for good, a state machine in no known state, a bug. */
  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    const { directory, logger, onFatal } = this.#options;
    // Who opens it hears of it anyway.
    const isUnheard = this.#isAccepting && !(error instanceof ApiaryError);
    logger.warn({ directory, error: messageOf(error) }, 'the log has stopped');
    this.#stop(error);
    if (isUnheard) onFatal(error);
  }

  /** Refuses all that waits and all that comes, and leads no more. */
  #stop(cause: unknown): void {
    const error = cause instanceof ApiaryError ? cause : new ApiaryError('internal', messageOf(cause), { cause });
    this.#refusal = error;
    this.#isAccepting = false;
    this.#ticks?.stop();
    this.#running?.driver.stop();
    this.#running?.proposals.rejectAll(error);
    this.#barriers.rejectAll(error);
    for (const { resolve } of this.#handovers.splice(0)) resolve();
    this.#peers = [];
    if (this.#leadership.role === 'leader') this.#lead({ role: 'follower', term: this.#leadership.term });
  }
}

/** Of the other voters that answer, the one that has most of the log. */
function heirOf({ membership, peers }: NodeStatus): MemberId | undefined {
  const heirs = peers.filter(({ id, isActive }) => isActive && membership.voters.includes(id));
  return heirs.sort((a, b) => b.matchIndex - a.matchIndex)[0]?.id;
}
