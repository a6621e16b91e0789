import {
  type Entry,
  type MemberId,
  type MembershipChange,
  type Message,
  type NodeOptions,
  type NodeStatus,
  type Proposal,
  RaftNode,
  type Ready,
  type SnapshotChunk,
  type SnapshotMeta,
} from '@apiary/raft/core';
import type { MemberStorage, Opened } from '@apiary/raft/io';
import { ApiaryError, messageOf, systemCodeOf } from '@apiary/std';
import { type Append, encodeAppend, Machine } from './machine.js';
import { demand, MirrorLog, type Oracle } from './oracle.js';

/** What one process needs of the simulation. */
export interface Surroundings {
  oracle: Oracle;
  send(message: Message): void;
  tell(words: string): void;
  /** Runs what follows from a promise: what goes wrong there ends the simulation. */
  guard(run: () => void): void;
  /** Something was asked of a disk: promises have to settle before time goes on. */
  touchDisk(): void;
  /** The process cannot go on: its log has failed for good. */
  exit(why: string): void;
}

export interface ProcessSettings {
  node: NodeOptions;
  chunkBytes: number;
  snapshotEveryEntries: number;
  keepEntries: number;
  isEncrypted: boolean;
}

/** A key lasts for so many snapshots. */
const SNAPSHOTS_PER_KEY = 3;

/** How a write ended: `unknown` when it may or may not have happened, or may still. */
export type WriteOutcome = 'acknowledged' | 'refused' | 'unknown';

interface Read {
  key: string;
  index: number | undefined;
  settle: (values: readonly string[] | undefined) => void;
}

/** A member from start to end: drives a node, its storage and its state machine as `Ready` says. */
export class Process {
  readonly id: MemberId;
  readonly machine = new Machine();
  readonly #surroundings: Surroundings;
  readonly #settings: ProcessSettings;
  readonly #node: RaftNode;
  readonly #storage: MemberStorage;
  readonly #mirror: MirrorLog;
  readonly #proposals = new Map<number, { term: number; value: string; settle: (outcome: WriteOutcome) => void }>();
  readonly #reads = new Map<string, Read>();
  /** Under way, oldest first, with what may be said once they are durable. */
  readonly #writes: { messages: Message[] }[] = [];
  #isStopped = false;
  #commit = 0;
  #role: NodeStatus['role'] = 'follower';
  #snapshotIndex: number;
  #isTakingSnapshot = false;
  #snapshotsTaken = 0;

  constructor(settings: ProcessSettings, { storage, initial, state }: Opened, surroundings: Surroundings) {
    this.id = settings.node.id;
    this.#settings = settings;
    this.#surroundings = surroundings;
    this.#storage = storage;
    this.#node = new RaftNode(settings.node, initial);
    this.#mirror = new MirrorLog(initial.snapshot, initial.entries);
    this.#snapshotIndex = initial.snapshot.index;
    if (state !== undefined) this.#restore(initial.snapshot, state);
    for (const entry of initial.entries) surroundings.oracle.wrote(this.id, entry, this.#mirror);
    this.#commit = initial.snapshot.index;
    this.pump();
  }

  get status(): NodeStatus {
    return this.#node.status;
  }

  tick(): void {
    this.#node.tick();
    this.pump();
  }

  step(message: Message): void {
    this.#node.step(message);
    this.pump();
  }

  unreachable(member: MemberId): void {
    this.#node.unreachable(member);
    this.pump();
  }

  transfer(to: MemberId): void {
    this.#node.transfer(to);
    this.pump();
  }

  write(append: Append, settle: (outcome: WriteOutcome) => void): Proposal {
    const proposal = this.#node.propose(encodeAppend(append));
    if (proposal.type === 'accepted') {
      this.#proposals.set(proposal.index, { term: proposal.term, value: append.value, settle });
      this.pump();
    }
    return proposal;
  }

  read(readId: string, key: string, settle: (values: readonly string[] | undefined) => void): void {
    this.#reads.set(readId, { key, index: undefined, settle });
    this.#node.readIndex(readId);
    this.pump();
  }

  changeMembership(change: MembershipChange, data: Uint8Array, isForced: boolean): Proposal {
    const proposal = this.#node.proposeMembership(change, data, { isForced });
    this.pump();
    return proposal;
  }

  /** The process ends here and now: nobody is told anything any more. */
  stop(): void {
    this.#isStopped = true;
    for (const { settle } of this.#proposals.values()) settle('unknown');
    for (const { settle } of this.#reads.values()) settle(undefined);
  }

  /** Does all that the node wants done. */
  pump(): void {
    for (;;) {
      const ready = this.#node.ready();
      if (ready === undefined) break;
      this.#carryOut(ready);
    }
    this.#observe();
  }

  #carryOut(ready: Ready): void {
    const { send } = this.#surroundings;
    for (const message of ready.send) send(message);
    for (const { to, term, snapshot, offset } of ready.readChunks) {
      const chunk = this.#storage.readChunk(to, snapshot, offset, this.#settings.chunkBytes);
      if (chunk === undefined) this.#node.chunkUnavailable(to);
      else send({ type: 'snapshot-chunk', from: this.id, to, term, snapshot, offset, ...chunk });
    }
    this.#persist(ready);
    if (ready.restore !== undefined) {
      this.#surroundings.tell(`${this.id} restores the snapshot of entry ${ready.restore.index}`);
      this.#restore(ready.restore, this.#storage.stateOf(ready.restore));
    }
    for (const entry of ready.apply) this.#apply(entry);
    for (const chunk of ready.storeChunks) this.#storeChunk(chunk);
    for (const outcome of ready.reads) {
      const read = this.#reads.get(outcome.readId);
      if (read === undefined) continue;
      if (outcome.type === 'confirmed') read.index = outcome.index;
      else {
        this.#reads.delete(outcome.readId);
        read.settle(undefined);
      }
    }
    this.#answerReads();
  }

  #persist({ number, persist, sendOnceDurable }: Ready): void {
    const { send, guard } = this.#surroundings;
    const last = this.#writes.at(-1);
    if (persist === undefined) {
      if (last === undefined) for (const message of sendOnceDurable) send(message);
      else last.messages.push(...sendOnceDurable);
      return;
    }
    this.#mirror.write(persist);
    for (const entry of persist.entries) this.#surroundings.oracle.wrote(this.id, entry, this.#mirror);
    const write = { messages: sendOnceDurable };
    this.#writes.push(write);
    this.#surroundings.touchDisk();
    this.#storage.write(persist).then(
      () => guard(() => this.#whenWritten(number)),
      (error: unknown) => guard(() => this.#whenRefused(write, error)),
    );
  }

  #whenWritten(number: number): void {
    if (this.#isStopped) return;
    const write = this.#writes.shift();
    for (const message of write?.messages ?? []) this.#surroundings.send(message);
    this.#node.persisted(number);
    this.pump();
  }

  #whenRefused(write: { messages: Message[] }, error: unknown): void {
    if (this.#isStopped || !this.#writes.includes(write)) return;
    if (!isRefusal(error)) throw error;
    if (error.code === 'unavailable') {
      this.#surroundings.exit(messageOf(error));
      return;
    }
    this.#surroundings.tell(`${this.id} cannot write to its disk`);
    this.#writes.length = 0;
    const givenUp = this.#node.diskFailed();
    if (givenUp !== undefined) this.#forget(givenUp);
    this.pump();
  }

  /** The only member gave up its entries from `index` on: nobody else has seen them. */
  #forget(index: number): void {
    this.#surroundings.oracle.forgets(index, this.#mirror);
    this.#mirror.truncateFrom(index);
    for (const [at, { settle }] of this.#proposals) {
      if (at < index) continue;
      this.#proposals.delete(at);
      settle('refused');
    }
  }

  #storeChunk(chunk: SnapshotChunk): void {
    const { guard } = this.#surroundings;
    const settle = (run: () => void): void =>
      guard(() => {
        if (this.#isStopped) return;
        run();
        this.pump();
      });
    this.#surroundings.touchDisk();
    this.#storage.storeChunk(chunk).then(
      () => settle(() => this.#node.chunkStored(chunk)),
      () => settle(() => this.#node.chunkRefused()),
    );
  }

  #restore({ index, membership }: SnapshotMeta, pieces: Iterable<Uint8Array>): void {
    const { oracle } = this.#surroundings;
    this.machine.restore(pieces);
    demand(this.machine.index === index, `${this.id} restored the state of entry ${this.machine.index}, not ${index}`);
    demand(
      JSON.stringify(this.machine.roles) === JSON.stringify(membership),
      `the snapshot of entry ${index} has the members ${JSON.stringify(membership)}, and its state the roles ${JSON.stringify(this.machine.roles)}`,
    );
    oracle.restores(this.id, index, this.machine.digest);
    this.#snapshotIndex = index;
    this.#commit = Math.max(this.#commit, index);
    for (const [at, { settle }] of this.#proposals) {
      if (at > index) continue;
      this.#proposals.delete(at);
      settle('unknown');
    }
  }

  #apply(entry: Entry): void {
    const { oracle } = this.#surroundings;
    demand(entry.index === this.machine.index + 1, `${this.id} applies ${entry.index} after ${this.machine.index}`);
    this.machine.apply(entry);
    oracle.applies(this.id, entry, this.machine.digest);
    const proposal = this.#proposals.get(entry.index);
    if (proposal !== undefined) {
      this.#proposals.delete(entry.index);
      if (proposal.term === entry.term) oracle.acknowledges(proposal.value, entry.index);
      proposal.settle(proposal.term === entry.term ? 'acknowledged' : 'refused');
    }
    this.#takeSnapshotIfDue();
  }

  #takeSnapshotIfDue(): void {
    const { snapshotEveryEntries, keepEntries } = this.#settings;
    const { guard, tell } = this.#surroundings;
    const { index } = this.machine;
    if (this.#isTakingSnapshot || index - this.#snapshotIndex < snapshotEveryEntries) return;
    this.#isTakingSnapshot = true;
    const meta = this.#node.snapshotMeta(index);
    this.#surroundings.touchDisk();
    this.#storage.saveSnapshot(meta, this.machine.snapshot()).then(
      (isSaved) =>
        guard(() => {
          this.#isTakingSnapshot = false;
          if (this.#isStopped || !isSaved) return;
          tell(`${this.id} has a snapshot of entry ${index}`);
          this.#snapshotIndex = Math.max(index, this.#snapshotIndex);
          this.#node.compact(meta, keepEntries);
          this.#rotateKeyIfDue();
          this.pump();
        }),
      () => {
        this.#isTakingSnapshot = false;
      },
    );
  }

  /** Beside all else: the next snapshot lets the old key go. */
  #rotateKeyIfDue(): void {
    const { guard, tell, touchDisk } = this.#surroundings;
    if (!this.#settings.isEncrypted || ++this.#snapshotsTaken % SNAPSHOTS_PER_KEY !== 0) return;
    touchDisk();
    this.#storage.rotateKey().then(
      () => guard(() => tell(`${this.id} has a new key`)),
      (error: unknown) => guard(() => demand(isDiskTrouble(error), `${this.id} has no new key: ${messageOf(error)}`)),
    );
  }

  #answerReads(): void {
    for (const [readId, { key, index, settle }] of this.#reads) {
      if (index === undefined || index > this.machine.index) continue;
      this.#reads.delete(readId);
      settle(this.machine.read(key));
    }
  }

  #observe(): void {
    const { role, term, commit, membership, isDiskFailed } = this.#node.status;
    const { oracle, tell } = this.#surroundings;
    if (role === 'leader') oracle.leads(this.id, term, this.#mirror);
    // While the disk refuses, what was received is not handed out, and the mirror lacks it.
    if (commit > this.#commit && !isDiskFailed) {
      oracle.commits(this.id, term, { from: this.#commit, to: commit }, this.#mirror);
      this.#commit = commit;
    }
    if (role === this.#role) return;
    this.#role = role;
    tell(`${this.id} is ${role} in term ${term} of ${membership.voters.join('+')}`);
  }
}

/** The disk is full or does not answer: that passes. */
export function isDiskTrouble(error: unknown): boolean {
  return isRefusal(error) || ['ENOSPC', 'EIO'].includes(systemCodeOf(error) ?? '');
}

function isRefusal(error: unknown): error is ApiaryError {
  return error instanceof ApiaryError && (error.code === 'resource-exhausted' || error.code === 'unavailable');
}
