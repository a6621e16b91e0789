import fc from 'fast-check';
import t from 'tap';
import { LogFrames, type OutputLine } from './log-frames.js';

const AT = '2026-01-02T03:04:05.000000001Z';
const bytes = (text: string): Uint8Array => Buffer.from(text);

function frame(stream: number, text: string): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

const say = ({ stream, timestamp, data }: OutputLine): string => `${stream} ${timestamp} ${Buffer.from(data)}`;

function readIn(isTty: boolean, all: Uint8Array, cuts: number[]): string[] {
  const frames = new LogFrames({ isTty });
  const places = [0, ...cuts.map((cut) => cut % (all.length + 1)).sort((a, b) => a - b), all.length];
  const lines = places.flatMap((at, i) => frames.push(all.subarray(places[i - 1] ?? 0, at)));
  return [...lines, ...frames.finish()].map(say);
}

t.test('lines are cut out of frames, wherever the chunks are cut', async (t) => {
  const text = fc.string({ maxLength: 40 });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(1, 2), text)), fc.array(fc.nat()), (lines, cuts) => {
      const all = Buffer.concat(lines.map(([stream, words]) => frame(stream, `${AT} ${words}\n`)));
      const expected = lines.map(([stream, words]) => `${stream === 1 ? 'stdout' : 'stderr'} ${AT} ${words}\n`);
      t.same(readIn(false, all, cuts), expected);
    }),
    { numRuns: 100 },
  );
});

t.test('a terminal has lines alone, and its last one may have no end', async (t) => {
  const all = bytes(`${AT} a\r\n${AT} b c\r\n${AT} prompt> `);
  for (let cut = 0; cut <= all.length; cut++) {
    const expected = [`stdout ${AT} a\r\n`, `stdout ${AT} b c\r\n`, `stdout ${AT} prompt> `];
    t.same(readIn(true, all, [cut]), expected);
  }
});

t.test('what is of no stream is left out; without a timestamp of its own, a line has that before it', async (t) => {
  const all = Buffer.concat([frame(0, `${AT} stdin\n`), frame(1, `${AT} first\n`), frame(1, 'more\n')]);
  t.same(readIn(false, all, []), [`stdout ${AT} first\n`, `stdout ${AT} more\n`]);
});

t.test('what a log driver notes of a container stands between the time and the line', async (t) => {
  const frames = new LogFrames({ isTty: false, withDetails: true });
  const lines = frames.push(Buffer.concat([frame(1, `${AT} A=1,b=x%2Cy a b\n`), frame(2, `${AT}  none\n`)]));
  t.same(
    lines.map((line) => [line.details, say(line)]),
    [
      ['A=1,b=x%2Cy', `stdout ${AT} a b\n`],
      ['', `stderr ${AT} none\n`],
    ],
  );
});
