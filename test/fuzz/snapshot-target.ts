import {
  encodedMessageBytes,
  encodeMembership,
  type Message,
  readMessage,
  type SnapshotChunk,
  writeMessage,
} from '@apiary/raft/core';
import { ReplicatedLog, type TransportReceiver } from '@apiary/raft/io';
import { ApiaryError, invariant, SeededRng, VirtualClock } from '@apiary/std';
import * as fc from 'fast-check';
import { damaged } from './damage.js';
import { MemoryFiles } from './memory-files.js';
import type { Target, Verdict } from './target.js';

/** What a manager that has fallen behind, or is new, is sent of another's state: in chunks, each a message. */

const ENDS = { from: 'm1', to: 'm2' };
const PIECES = ['the state', 'x'.repeat(500), '', 'and its end'].map((text) => Buffer.from(text));
const CHUNK_BYTES = 120;
const MEMBERS = { voters: ['m1', 'm3'], learners: ['m2'] };

/** A snapshot, its membership before its pieces, each after its length; cut into chunks. */
function chunks(index: number, term: number): SnapshotChunk[] {
  const stream = Buffer.concat(
    [encodeMembership(MEMBERS), ...PIECES].flatMap((piece) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(piece.length);
      return [length, piece];
    }),
  );
  const snapshot = { index, term: 3, membership: MEMBERS };
  const all: SnapshotChunk[] = [];
  for (let offset = 0; offset < stream.length; offset += CHUNK_BYTES) {
    const data = stream.subarray(offset, offset + CHUNK_BYTES);
    all.push({
      type: 'snapshot-chunk',
      ...ENDS,
      term,
      snapshot,
      offset,
      data,
      isLast: offset + CHUNK_BYTES >= stream.length,
    });
  }
  return all;
}

function encoded(message: Message): Uint8Array {
  const bytes = new Uint8Array(encodedMessageBytes(message));
  writeMessage(message, bytes, 0);
  return bytes;
}

/** A member that joins, with a disk and a state in memory. */
async function joining() {
  let receiver: TransportReceiver | undefined;
  let onRestored = () => {};
  let fatal: unknown;
  const state = { index: 0, pieces: [] as Buffer[] };
  const clock = new VirtualClock(1_700_000_000_000);
  const log = new ReplicatedLog({
    directory: '/raft',
    identity: { clusterId: 'c1', memberId: ENDS.to },
    start: 'join',
    transport: {
      start: (given) => {
        receiver = given;
      },
      send: (message) => void encoded(message),
      forward: async () => {
        throw new ApiaryError('unavailable', 'nobody is there');
      },
      keep: () => {},
      close: async () => {},
    },
    clock,
    rng: new SeededRng(1),
    files: new MemoryFiles(),
    onFatal: (error) => {
      fatal = error;
    },
  });
  await log.open({
    apply: () => {},
    snapshot: () => [],
    restore: (index, pieces) => {
      state.pieces = [...pieces].map((piece) => Buffer.from(piece));
      state.index = index;
      onRestored();
    },
  });
  invariant(receiver !== undefined, 'a log that is open hears its peers');
  const hears = receiver;
  /** Resolves once all that came of it is done, as far as it is known here. */
  const receive = async (message: Message) => {
    hears.receive(message);
    for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
    if (fatal !== undefined) throw fatal;
  };
  const restoredAt = async (index: number) => {
    for (let turn = 0; state.index !== index; turn++) {
      invariant(turn < 1_000, `the snapshot of ${index} is taken`);
      clock.advance(20);
      await new Promise<void>((resolve) => {
        onRestored = resolve;
        setImmediate(resolve);
      });
      if (fatal !== undefined) throw fatal;
    }
  };
  return { log, state, receive, restoredAt };
}

/** Whatever came before, a snapshot that is whole is taken as it was sent. */
async function received(all: readonly Uint8Array[]): Promise<Verdict> {
  const { log, state, receive, restoredAt } = await joining();
  let read = 0;
  let highest = 1;
  let term = 1;
  for (const bytes of all) {
    try {
      const message = readMessage(bytes, ENDS);
      if (message.type !== 'snapshot-chunk') continue;
      // One of a place far beyond would leave no number for the one that follows.
      if (message.snapshot.index > 2 ** 40 || message.term > 2 ** 40) continue;
      highest = Math.max(highest, message.snapshot.index);
      term = Math.max(term, message.term);
      await receive(message);
      read++;
    } catch (error) {
      if (!(error instanceof ApiaryError) || error.code === 'internal') throw error;
    }
  }
  for (const chunk of chunks(highest + 1, term + 1)) await receive(chunk);
  await restoredAt(highest + 1);
  invariant(Buffer.concat(state.pieces).equals(Buffer.concat(PIECES)), 'what was sent is what is restored');
  await log.close();
  return read > 0 ? 'taken' : 'refused';
}

const good = chunks(7, 4).map(encoded);
const property = fc
  .array(fc.tuple(fc.nat(good.length - 1), fc.option(damaged(...good), { freq: 2 })), { minLength: 1, maxLength: 8 })
  .map((all) => all.map(([place, wrong]) => wrong ?? good[place] ?? Buffer.alloc(0)))
  .map((all) => () => received(all));

export const SNAPSHOT_TARGET: Target = {
  name: 'snapshots of other managers',
  share: 15,
  open: async () => ({ property, close: async () => {} }),
};
