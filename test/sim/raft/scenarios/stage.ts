import {
  DEFAULT_OPTIONS,
  type Entry,
  type HardState,
  type InitialState,
  type MemberId,
  type Membership,
  type Message,
  NO_MEMBERSHIP,
  type NodeOptions,
  RaftNode,
  type Ready,
  type SnapshotMeta,
} from '@apiary/raft/core';
import { describeEntry, describeMessage, place } from './words.js';

interface Disk {
  hardState: HardState;
  snapshot: SnapshotMeta;
  entries: Entry[];
}

interface Actor {
  node: RaftNode;
  disk: Disk;
  /** Writes that were handed out and not carried out, while the disk is held. */
  held: Ready[] | undefined;
  /** What it was last seen as. */
  seen: string;
}

export type StageOptions = Partial<Omit<NodeOptions, 'id' | 'rng'>>;

/** Nodes whose every message, write and tick happens when a scenario says so. Timeouts are the shortest possible. */
export class Stage {
  readonly #actors = new Map<MemberId, Actor>();
  readonly #cut = new Set<string>();
  readonly #options: StageOptions;
  #messages: Message[] = [];
  #log: string[] = [];

  constructor(options: StageOptions) {
    this.#options = options;
  }

  /** What happened since the last call, a line each. */
  takeLog(): string[] {
    return this.#log.splice(0);
  }

  get ids(): MemberId[] {
    return [...this.#actors.keys()];
  }

  node(id: MemberId): RaftNode {
    return this.#actor(id).node;
  }

  /** Begins with `membership` as its first entry, or, without one, with nothing. */
  add(id: MemberId, membership: Membership | undefined): void {
    const disk: Disk = {
      hardState: { term: membership === undefined ? 0 : 1, vote: '', commit: membership === undefined ? 0 : 1 },
      snapshot: { index: 0, term: 0, membership: NO_MEMBERSHIP },
      entries:
        membership === undefined
          ? []
          : [{ type: 'membership', index: 1, term: 1, membership, data: new Uint8Array(0) }],
    };
    this.#actors.set(id, { node: this.#start(id, disk), disk, held: undefined, seen: '' });
    this.#actor(id).seen = this.#look(id);
    this.settle(id, { isQuiet: true });
  }

  /** Starts a node again, with what its disk has. */
  restart(id: MemberId): void {
    const actor = this.#actor(id);
    actor.held = undefined;
    actor.node = this.#start(id, actor.disk);
    this.settle(id, { isQuiet: true });
  }

  /** Carries out what `id` wants done. */
  settle(id: MemberId, { isQuiet = false } = {}): void {
    const actor = this.#actor(id);
    for (let ready = actor.node.ready(); ready !== undefined; ready = actor.node.ready()) {
      this.#carryOut(id, actor, ready);
    }
    const seen = this.#look(id);
    if (seen !== actor.seen) this.#log.push(`${id} is ${seen}`);
    actor.seen = seen;
    if (isQuiet) this.#log = [];
  }

  hold(id: MemberId): void {
    this.#actor(id).held ??= [];
  }

  /** The disk does what was held back. */
  sync(id: MemberId): void {
    const actor = this.#actor(id);
    const held = actor.held ?? [];
    actor.held = undefined;
    for (const ready of held) this.#finish(actor, ready);
    this.settle(id);
  }

  /** The disk refuses what was held back. */
  fail(id: MemberId): void {
    const actor = this.#actor(id);
    actor.held = undefined;
    actor.node.diskFailed();
    this.settle(id);
  }

  cut(from: MemberId, to: MemberId): void {
    this.#cut.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cut.clear();
  }

  /** Loses the messages under way. */
  drop(): void {
    this.#messages = [];
  }

  /** Delivers what is under way, and what comes of it, until nothing is, or so many were. */
  deliver(atMost = Number.POSITIVE_INFINITY): void {
    for (let count = 0; this.#messages.length > 0 && count < atMost; count++) {
      if (count > 500) throw new Error('the nodes talk without end');
      const [message] = this.#messages.splice(0, 1);
      if (message === undefined || !this.#actors.has(message.to)) continue;
      this.node(message.to).step(message);
      this.settle(message.to);
    }
  }

  snapshot(id: MemberId, keepEntries: number): void {
    const { node, disk } = this.#actor(id);
    const snapshot = node.snapshotMeta(node.status.applied);
    disk.snapshot = snapshot;
    disk.entries = disk.entries.filter(({ index }) => index > snapshot.index);
    node.compact(snapshot, keepEntries);
    this.#log.push(`${id} has a snapshot of ${place(snapshot)}`);
  }

  #start(id: MemberId, disk: Disk): RaftNode {
    // The smallest number each time: an election timeout is what its option says.
    const rng = { below: () => 0 };
    const options = { ...DEFAULT_OPTIONS, electionTicks: 10, heartbeatTicks: 2, ...this.#options, id, rng };
    const initial: InitialState = structuredClone(disk);
    return new RaftNode(options, initial);
  }

  #actor(id: MemberId): Actor {
    const actor = this.#actors.get(id);
    if (actor === undefined) throw new Error(`there is no node ${id}`);
    return actor;
  }

  #look(id: MemberId): string {
    const { role, term, leaderId, membership, isDiskFailed } = this.node(id).status;
    const following = role === 'follower' && leaderId !== undefined ? ` of ${leaderId}` : '';
    const { voters, learners } = membership;
    const members = `voters ${voters.join('+') || 'none'}${learners.length > 0 ? `, learners ${learners.join('+')}` : ''}`;
    return `${role}${following} in term ${term}, ${members}${isDiskFailed ? ', without a disk' : ''}`;
  }

  #send(message: Message): void {
    const isCut = this.#cut.has(`${message.from}>${message.to}`);
    this.#log.push(`${isCut ? 'lost: ' : ''}${describeMessage(message)}`);
    if (!isCut) this.#messages.push(message);
  }

  #carryOut(id: MemberId, actor: Actor, ready: Ready): void {
    for (const message of ready.send) this.#send(message);
    for (const { to, term, snapshot, offset } of ready.readChunks) {
      // A snapshot of two pieces.
      const data = new Uint8Array(10);
      this.#send({ type: 'snapshot-chunk', from: id, to, term, snapshot, offset, data, isLast: offset > 0 });
    }
    if (actor.held !== undefined && (ready.persist !== undefined || actor.held.length > 0)) {
      if (ready.persist !== undefined) this.#log.push(`${id} is writing`);
      actor.held.push(ready);
    } else this.#finish(actor, ready);
    if (ready.restore !== undefined) this.#log.push(`${id} restores the snapshot of ${place(ready.restore)}`);
    for (const entry of ready.apply) this.#log.push(`${id} applies ${describeEntry(entry)}`);
    for (const chunk of ready.storeChunks) actor.node.chunkStored(chunk);
    for (const read of ready.reads) {
      this.#log.push(
        `${id} ${read.type === 'confirmed' ? `may read ${read.readId} after ${read.index}` : `cannot read ${read.readId}`}`,
      );
    }
  }

  #finish({ node, disk }: Actor, { number, persist, sendOnceDurable }: Ready): void {
    if (persist?.snapshot !== undefined) {
      disk.snapshot = persist.snapshot;
      disk.entries = [];
    }
    const [first] = persist?.entries ?? [];
    if (first !== undefined) disk.entries = disk.entries.filter(({ index }) => index < first.index);
    disk.entries.push(...(persist?.entries ?? []));
    disk.hardState = persist?.hardState ?? disk.hardState;
    for (const message of sendOnceDurable) this.#send(message);
    if (persist !== undefined) node.persisted(number);
  }
}
