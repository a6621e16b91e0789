import { ApiaryError, invariant, unreachable } from '@apiary/std';
import { bytesOf, getAscii, getUint64, putAscii, putUint64, viewOf } from './binary.js';
import type { Entry, MemberId, Membership, Position } from './entry.js';
import {
  decodeEntry,
  decodeMembership,
  encodedEntryBytes,
  encodedMembershipBytes,
  encodeMembership,
  writeEntry,
} from './entry-codec.js';
import type { AppendResponse, Message, SnapshotChunk } from './messages.js';

/**
 * Messages as bytes, for the wire: a byte for the type, the term, then the type's own fields, little-endian. Who sends
 * and who receives is not in them: the wire knows both. An entry's index follows from its place.
 */
const TYPES: Record<Message['type'], number> = {
  'pre-vote-request': 1,
  'pre-vote-response': 2,
  'vote-request': 3,
  'vote-response': 4,
  'append-request': 5,
  'append-response': 6,
  'heartbeat-request': 7,
  'heartbeat-response': 8,
  'snapshot-chunk': 9,
  'snapshot-response': 10,
  'timeout-now': 11,
  'term-notice': 12,
  'read-request': 13,
  'read-response': 14,
};

const TYPE_OF = new Map(Object.entries(TYPES).map(([type, byte]) => [byte, type as Message['type']]));

const OUTCOMES = { accepted: 0, rejected: 1 } as const;
const HEAD_BYTES = 9;
const POSITION_BYTES = 16;
/** Before each entry: its term, and the length of its content. */
const ENTRY_HEAD_BYTES = 12;
const NAME_FORM = /^[\x21-\x7e]{1,255}$/;

/** How many bytes `writeMessage` writes. */
export function encodedMessageBytes(message: Message): number {
  return HEAD_BYTES + bodyBytes(message);
}

function bodyBytes(message: Message): number {
  switch (message.type) {
    case 'pre-vote-request':
      return POSITION_BYTES;
    case 'vote-request':
      return POSITION_BYTES + 1;
    case 'pre-vote-response':
    case 'vote-response':
      return 1;
    case 'append-request':
      return message.entries.reduce(
        (sum, entry) => sum + ENTRY_HEAD_BYTES + encodedEntryBytes(entry),
        POSITION_BYTES + 12,
      );
    case 'append-response':
      return message.outcome.type === 'accepted' ? 9 : 9 + POSITION_BYTES;
    case 'heartbeat-request':
      return 24;
    case 'heartbeat-response':
      return 16;
    case 'snapshot-chunk':
      return POSITION_BYTES + encodedMembershipBytes(message.snapshot.membership) + 9 + message.data.length;
    case 'snapshot-response':
      return 16;
    case 'timeout-now':
    case 'term-notice':
      return 0;
    case 'read-request':
      return 1 + message.readId.length;
    case 'read-response':
      return 9 + message.readId.length;
  }
}

/** Writes `message` into `target`, from `at` on. */
export function writeMessage(message: Message, target: Uint8Array, at: number): void {
  const writer = new Writer(target, at);
  writer.byte(TYPES[message.type]).number(message.term);
  switch (message.type) {
    case 'pre-vote-request':
      writer.position(message.last);
      break;
    case 'vote-request':
      writer.position(message.last).flag(message.isTransfer);
      break;
    case 'pre-vote-response':
    case 'vote-response':
      writer.flag(message.isGranted);
      break;
    case 'append-request':
      writer
        .position(message.previous)
        .number(message.commit)
        .entries(message.entries, message.previous.index + 1);
      break;
    case 'append-response':
      writer.outcome(message.outcome);
      break;
    case 'heartbeat-request':
      writer.number(message.commit).number(message.round).number(message.sentTick);
      break;
    case 'heartbeat-response':
      writer.number(message.round).number(message.sentTick);
      break;
    case 'snapshot-chunk':
      writer.position(message.snapshot).bytes(encodeMembership(message.snapshot.membership));
      writer.number(message.offset).flag(message.isLast).bytes(message.data);
      break;
    case 'snapshot-response':
      writer.number(message.snapshotIndex).number(message.nextOffset);
      break;
    case 'timeout-now':
    case 'term-notice':
      break;
    case 'read-request':
      writer.name(message.readId);
      break;
    case 'read-response':
      writer.number(message.index).name(message.readId);
      break;
    default:
      unreachable(message);
  }
}

/**
 * The message that `bytes` are. Data of entries and of snapshots are parts of `bytes`, not copies.
 *
 * @throws ApiaryError `invalid-argument` when they are none
 */
export function readMessage(bytes: Uint8Array, { from, to }: { from: MemberId; to: MemberId }): Message {
  try {
    const reader = new Reader(bytes);
    const message = readBody(reader, { from, to });
    reader.end();
    return message;
  } catch (error) {
    // What lies beyond the end is not read.
    if (error instanceof RangeError) throw malformed('it is cut short');
    throw error;
  }
}

function readBody(reader: Reader, ends: { from: MemberId; to: MemberId }): Message {
  const byte = reader.byte();
  const type = TYPE_OF.get(byte);
  if (type === undefined) throw malformed(`there is no type ${byte}`);
  const head = { ...ends, term: reader.number() };
  switch (type) {
    case 'pre-vote-request':
      return { type, ...head, last: reader.position() };
    case 'vote-request':
      return { type, ...head, last: reader.position(), isTransfer: reader.flag() };
    case 'pre-vote-response':
    case 'vote-response':
      return { type, ...head, isGranted: reader.flag() };
    case 'append-request': {
      const previous = reader.position();
      const commit = reader.number();
      return { type, ...head, previous, commit, entries: reader.entries(previous, head.term) };
    }
    case 'append-response':
      return { type, ...head, outcome: reader.outcome() };
    case 'heartbeat-request':
      return { type, ...head, commit: reader.number(), round: reader.number(), sentTick: reader.number() };
    case 'heartbeat-response':
      return { type, ...head, round: reader.number(), sentTick: reader.number() };
    case 'snapshot-chunk':
      return { type, ...head, ...reader.snapshotPiece() };
    case 'snapshot-response':
      return { type, ...head, snapshotIndex: reader.number(), nextOffset: reader.number() };
    case 'timeout-now':
    case 'term-notice':
      return { type, ...head };
    case 'read-request':
      return { type, ...head, readId: reader.name() };
    case 'read-response':
      return { type, ...head, index: reader.number(), readId: reader.name() };
  }
}

class Writer {
  readonly #target: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(target: Uint8Array, at: number) {
    this.#target = target;
    this.#view = viewOf(target);
    this.#at = at;
  }

  byte(value: number): this {
    this.#view.setUint8(this.#at, value);
    this.#at += 1;
    return this;
  }

  flag(value: boolean): this {
    return this.byte(value ? 1 : 0);
  }

  number(value: number): this {
    putUint64(this.#view, this.#at, value);
    this.#at += 8;
    return this;
  }

  position({ index, term }: Position): this {
    return this.number(index).number(term);
  }

  bytes(bytes: Uint8Array): this {
    this.#target.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }

  name(name: string): this {
    invariant(NAME_FORM.test(name), `"${name}" is no name for the wire`);
    this.byte(name.length);
    putAscii(this.#view, this.#at, name.length, name);
    this.#at += name.length;
    return this;
  }

  entries(entries: readonly Entry[], firstIndex: number): this {
    this.#length(entries.length);
    for (const [i, entry] of entries.entries()) {
      invariant(entry.index === firstIndex + i, `entry ${entry.index} is sent in the place of ${firstIndex + i}`);
      const length = encodedEntryBytes(entry);
      this.number(entry.term).#length(length);
      writeEntry(entry, this.#target, this.#at);
      this.#at += length;
    }
    return this;
  }

  outcome(outcome: AppendResponse['outcome']): this {
    this.byte(OUTCOMES[outcome.type]);
    return outcome.type === 'accepted'
      ? this.number(outcome.matchIndex)
      : this.number(outcome.rejectedIndex).position(outcome.hint);
  }

  #length(length: number): void {
    this.#view.setUint32(this.#at, length, true);
    this.#at += 4;
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  byte(): number {
    const value = this.#view.getUint8(this.#at);
    this.#at += 1;
    return value;
  }

  flag(): boolean {
    const value = this.byte();
    if (value > 1) throw malformed(`${value} is neither yes nor no`);
    return value === 1;
  }

  number(): number {
    const value = getUint64(this.#view, this.#at);
    this.#at += 8;
    if (!Number.isSafeInteger(value)) throw malformed('a number is too large');
    return value;
  }

  position(): Position {
    return { index: this.number(), term: this.number() };
  }

  name(): string {
    const length = this.byte();
    const name = getAscii(viewOf(this.#take(length)), 0, length);
    if (name.length !== length || !NAME_FORM.test(name)) throw malformed('a name has other characters than it may');
    return name;
  }

  entries(previous: Position, leaderTerm: number): Entry[] {
    const count = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    const entries: Entry[] = [];
    for (let { index, term } = previous; entries.length < count; ) {
      const entryTerm = this.number();
      if (entryTerm < term || entryTerm > leaderTerm)
        throw malformed(`an entry of term ${entryTerm} has no place there`);
      const length = this.#view.getUint32(this.#at, true);
      this.#at += 4;
      index++;
      term = entryTerm;
      const entry = decodeEntry({ index, term }, this.#take(length));
      if (entry.type === 'membership') checkNames(entry.membership);
      entries.push(entry);
    }
    return entries;
  }

  outcome(): AppendResponse['outcome'] {
    const byte = this.byte();
    if (byte === OUTCOMES.accepted) return { type: 'accepted', matchIndex: this.number() };
    if (byte !== OUTCOMES.rejected) throw malformed(`there is no outcome ${byte}`);
    return { type: 'rejected', rejectedIndex: this.number(), hint: this.position() };
  }

  snapshotPiece(): Pick<SnapshotChunk, 'snapshot' | 'offset' | 'isLast' | 'data'> {
    const position = this.position();
    const membership = this.#membership();
    const offset = this.number();
    const isLast = this.flag();
    return { snapshot: { ...position, membership }, offset, isLast, data: this.#take(this.#bytes.length - this.#at) };
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw malformed(`${this.#bytes.length - this.#at} bytes are left over`);
  }

  #membership(): Membership {
    const { membership, length } = decodeMembership(this.#bytes.subarray(this.#at));
    this.#at += length;
    checkNames(membership);
    return membership;
  }

  #take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw malformed('it is cut short');
    const bytes = bytesOf(this.#view, this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }
}

function checkNames({ voters, learners }: Membership): void {
  for (const id of [...voters, ...learners]) {
    if (!NAME_FORM.test(id)) throw malformed('the name of a member has other characters than it may');
  }
}

function malformed(why: string): ApiaryError {
  return new ApiaryError('invalid-argument', `malformed message of the managers' log: ${why}`);
}
