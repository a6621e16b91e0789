import { decodeFrame, encodeFrames, FrameReader } from '@apiary/manager/io';
import {
  type Entry,
  encodedMessageBytes,
  type Membership,
  type Message,
  readMessage,
  writeMessage,
} from '@apiary/raft/core';
import { type FileSystem, MemberStorage } from '@apiary/raft/io';
import { ApiaryError, invariant } from '@apiary/std';
import * as fc from 'fast-check';
import { damaged } from './damage.js';
import { MemoryFiles } from './memory-files.js';
import { type OpenTarget, reader, refusal, type Target, type Verdict } from './target.js';

/** What managers read of each other, and of their disks. */

const ENDS = { from: 'm1', to: 'm2' };
const MEMBERS: Membership = { voters: ['m1', 'm2', 'm3'], learners: ['m4'] };
const entries: Entry[] = [
  { type: 'empty', index: 8, term: 3 },
  { type: 'command', index: 9, term: 3, data: Buffer.from('one') },
  { type: 'membership', index: 10, term: 4, membership: MEMBERS, data: Buffer.from('two') },
];
const MESSAGES: Message[] = [
  { type: 'append-request', ...ENDS, term: 4, previous: { index: 7, term: 3 }, commit: 6, entries },
  { type: 'append-response', ...ENDS, term: 4, outcome: { type: 'accepted', matchIndex: 9 } },
  {
    type: 'append-response',
    ...ENDS,
    term: 4,
    outcome: { type: 'rejected', rejectedIndex: 9, hint: { index: 3, term: 2 } },
  },
  { type: 'vote-request', ...ENDS, term: 4, last: { index: 9, term: 3 }, isTransfer: false },
  { type: 'heartbeat-request', ...ENDS, term: 4, commit: 8, round: 1, sentTick: 2 },
  {
    type: 'snapshot-chunk',
    ...ENDS,
    term: 4,
    snapshot: { index: 7, term: 3, membership: MEMBERS },
    offset: 3,
    data: Buffer.from('state'),
    isLast: true,
  },
  { type: 'read-request', ...ENDS, term: 4, readId: 'r1' },
];

function encoded(message: Message): Uint8Array {
  const bytes = new Uint8Array(encodedMessageBytes(message));
  writeMessage(message, bytes, 0);
  return bytes;
}

const messages = reader("managers' messages", 150, damaged(...MESSAGES.map(encoded)), (bytes) =>
  refusal(() => {
    const again = encoded(readMessage(bytes, ENDS));
    invariant(Buffer.from(again).equals(bytes), 'what is read is all that was there');
  }),
);

const items = [Buffer.from('one'), Buffer.from('two'), Buffer.alloc(300, 7)];
const codec = {
  bytesOf: (item: Buffer) => item.length,
  write: (item: Buffer, target: Uint8Array, at: number) => target.set(item, at),
};
const frame = encodeFrames(items, 4 * 3 + 306, codec)[0] ?? Buffer.alloc(0);
const continued = Buffer.concat([frame, Uint8Array.of(0x10, 1)]);

/** Of a manager's messages, as they go over the wire. */
export const MESSAGE_FRAMES: readonly Buffer[] = MESSAGES.flatMap((message) => {
  const bytes = Buffer.from(encoded(message));
  return encodeFrames([bytes], bytes.length + 4, codec);
});

const frames = reader(
  "managers' frames",
  100,
  fc.array(fc.oneof(damaged(frame, continued), fc.constant(frame)), { minLength: 1, maxLength: 4 }),
  (all) =>
    refusal(() => {
      const frameReader = new FrameReader();
      const given = all.reduce((sum, { length }) => sum + length, 0);
      const taken = all.flatMap((bytes) => frameReader.items(decodeFrame(Buffer.from(bytes))));
      const bytes = taken.reduce((sum, { length }) => sum + length, 0);
      invariant(bytes <= given, 'no more comes out than went in');
    }),
);

const STORAGE = { directory: '/raft', identity: { clusterId: 'c1', memberId: 'm1' }, segmentBytes: 700 };
const LAST_INDEX = 12;

/** Everything that a member reads at its start, over some segments and a snapshot. */
async function disk(isEncrypted: boolean): Promise<{ files: ReadonlyMap<string, Uint8Array>; told: string[] }> {
  const files = new MemoryFiles();
  const options = { ...STORAGE, files, ...(isEncrypted && { keys: {} }) };
  const { storage } = await MemberStorage.open({ ...options, bootstrap: MEMBERS });
  for (let index = 2; index <= LAST_INDEX; index++) {
    const entry: Entry = { type: 'command', index, term: 1, data: Buffer.from(`entry ${index} ${'x'.repeat(60)}`) };
    await storage.write({ snapshot: undefined, entries: [entry], hardState: { term: 1, vote: 'm1', commit: index } });
  }
  await storage.close();
  return { files: files.files, told: await toldBy(files, isEncrypted) };
}

async function toldBy(files: FileSystem, isEncrypted: boolean): Promise<string[]> {
  const { storage, initial } = await MemberStorage.open({ ...STORAGE, files, ...(isEncrypted && { keys: {} }) });
  await storage.close();
  const { term, vote, commit } = initial.hardState;
  invariant(term === (vote === '' ? 0 : 1) && commit <= LAST_INDEX, 'terms and votes are those that were written');
  return initial.entries.map((entry) => JSON.stringify(entry));
}

function walTarget(name: string, share: number, isEncrypted: boolean): Target {
  const open = async (): Promise<OpenTarget> => {
    const { files, told } = await disk(isEncrypted);
    invariant(told.length === LAST_INDEX, 'the log is read back');
    const damage = fc.constantFrom(...files).chain(([path, bytes]) => damaged(bytes).map((found) => ({ path, found })));
    const check = async (path: string, found: Uint8Array): Promise<Verdict> => {
      try {
        const read = await toldBy(new MemoryFiles(new Map(files).set(path, found)), isEncrypted);
        invariant(
          read.every((entry, i) => entry === told[i]),
          'the log has what was written, from its first entry on',
        );
        return 'taken';
      } catch (error) {
        if (error instanceof ApiaryError && error.code !== 'internal') return 'refused';
        throw error;
      }
    };
    return {
      property: damage.map(
        ({ path, found }) =>
          () =>
            check(path, found),
      ),
      close: async () => {},
    };
  };
  return { name, share, open };
}

export const LOG_TARGETS: readonly Target[] = [
  messages,
  frames,
  walTarget('log on disk', 30, false),
  walTarget('log on disk, encrypted', 20, true),
];
