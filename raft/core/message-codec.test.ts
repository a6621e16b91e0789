import { deepStrictEqual } from 'node:assert/strict';
import { ApiaryError } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import { type Entry, encodedMessageBytes, type Membership, type Message, readMessage, writeMessage } from './index.js';

const ENDS = { from: 'm1', to: 'm2' };
const number = fc.oneof(fc.nat(300), fc.maxSafeNat());
const position = fc.record({ index: number, term: number });
const id = fc.stringMatching(/^[a-z0-9]{1,25}$/);
const bytes = fc.uint8Array({ maxLength: 40 });
const membership: fc.Arbitrary<Membership> = fc.record({ voters: fc.array(id), learners: fc.array(id) });
const content = fc.oneof(
  fc.record({ type: fc.constant('empty' as const) }),
  fc.record({ type: fc.constant('command' as const), data: bytes }),
  fc.record({ type: fc.constant('membership' as const), membership, data: bytes }),
);

/** Entries in the order of a log: indexes without a gap, terms that do not fall, none above the leader's. */
const append: fc.Arbitrary<Message> = fc
  .record({
    previous: fc.record({ index: fc.nat(1e12), term: fc.nat(1e6) }),
    steps: fc.array(fc.tuple(fc.nat(3), content), { maxLength: 6 }),
    commit: number,
  })
  .map(({ previous, steps, commit }) => {
    let { term } = previous;
    const entries: Entry[] = steps.map(([more, rest], i) => {
      term += more;
      return { ...rest, index: previous.index + 1 + i, term };
    });
    return { type: 'append-request', ...ENDS, term, previous, commit, entries };
  });

const head = { from: fc.constant(ENDS.from), to: fc.constant(ENDS.to), term: number };
const message: fc.Arbitrary<Message> = fc.oneof(
  append,
  fc.record({ type: fc.constant('pre-vote-request' as const), ...head, last: position }),
  fc.record({ type: fc.constant('vote-request' as const), ...head, last: position, isTransfer: fc.boolean() }),
  fc.record({
    type: fc.constantFrom('pre-vote-response' as const, 'vote-response' as const),
    ...head,
    isGranted: fc.boolean(),
  }),
  fc.record({
    type: fc.constant('append-response' as const),
    ...head,
    outcome: fc.oneof(
      fc.record({ type: fc.constant('accepted' as const), matchIndex: number }),
      fc.record({ type: fc.constant('rejected' as const), rejectedIndex: number, hint: position }),
    ),
  }),
  fc.record({
    type: fc.constant('heartbeat-request' as const),
    ...head,
    commit: number,
    round: number,
    sentTick: number,
  }),
  fc.record({ type: fc.constant('heartbeat-response' as const), ...head, round: number, sentTick: number }),
  fc.record({
    type: fc.constant('snapshot-chunk' as const),
    ...head,
    snapshot: fc.record({ index: number, term: number, membership }),
    offset: number,
    data: bytes,
    isLast: fc.boolean(),
  }),
  fc.record({ type: fc.constant('snapshot-response' as const), ...head, snapshotIndex: number, nextOffset: number }),
  fc.record({ type: fc.constantFrom('timeout-now' as const, 'term-notice' as const), ...head }),
  fc.record({ type: fc.constant('read-request' as const), ...head, readId: id }),
  fc.record({ type: fc.constant('read-response' as const), ...head, readId: id, index: number }),
);

function encode(each: Message): Uint8Array {
  const encoded = new Uint8Array(encodedMessageBytes(each));
  writeMessage(each, encoded, 0);
  return encoded;
}

t.test('a message is read as it was written, wherever its bytes lie', async () => {
  fc.assert(
    fc.property(message, fc.nat(20), (each, offset) => {
      const length = encodedMessageBytes(each);
      const room = new Uint8Array(offset + length + 3);
      writeMessage(each, room, offset);
      deepStrictEqual(readMessage(room.subarray(offset, offset + length), ENDS), structuredClone(each));
    }),
    { numRuns: 500 },
  );
});

t.test('bytes that are no message are refused, or make another message, and nothing else', async () => {
  const flip = (encoded: Uint8Array, bits: number[]): Uint8Array => {
    for (const bit of bits) {
      const at = (bit >> 3) % encoded.length;
      encoded[at] = (encoded[at] ?? 0) ^ (1 << (bit & 7));
    }
    return encoded;
  };
  const readsOrRefuses = (encoded: Uint8Array): void => {
    let read: Message;
    try {
      read = readMessage(encoded, ENDS);
    } catch (error) {
      if (error instanceof ApiaryError) return;
      throw error;
    }
    // What was read can be passed on: it has no number, name or place that a member could not have written.
    encode(read);
  };
  const bits = fc.array(fc.nat(), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(message, bits, (each, flips) => readsOrRefuses(flip(encode(each), flips))),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(message, fc.nat(), (each, cut) => readsOrRefuses(encode(each).subarray(0, cut % 64))),
    { numRuns: 500 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), readsOrRefuses), { numRuns: 1000 });
});

t.test('data is not copied', async (t) => {
  const data = new Uint8Array([1, 2, 3]);
  const entries: Entry[] = [{ type: 'command', index: 8, term: 2, data }];
  const encoded = encode({
    type: 'append-request',
    ...ENDS,
    term: 2,
    previous: { index: 7, term: 1 },
    commit: 3,
    entries,
  });
  const read = readMessage(encoded, ENDS);
  const [entry] = read.type === 'append-request' ? read.entries : [];
  t.equal(entry?.type === 'command' && entry.data.buffer, encoded.buffer);
});
