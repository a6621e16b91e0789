import { VirtualClock } from '@apiary/std';
import t from 'tap';
import { OrderedMerge } from './ordered-merge.js';

/** A stream that a test feeds. */
class Feed implements AsyncIterable<number[]> {
  readonly #batches: (number[] | 'end' | Error)[] = [];
  #wake = (): void => {};

  say(...batches: (number[] | 'end' | Error)[]): void {
    this.#batches.push(...batches);
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<number[]> {
    for (;;) {
      const next = this.#batches.shift();
      if (next === 'end') return;
      if (next instanceof Error) throw next;
      if (next !== undefined) yield next;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function mergeOf(patienceMs: number) {
  const clock = new VirtualClock();
  const merge = new OrderedMerge<number>({ isBefore: (a, b) => a < b, clock, patienceMs });
  const feeds = [new Feed(), new Feed()] as const;
  for (const feed of feeds) merge.add(feed);
  const seen: number[] = [];
  const over = (async () => {
    for await (const batch of merge) seen.push(...batch);
  })();
  return { clock, merge, feeds, seen, over };
}

t.test('what has an end comes out in order, however it comes in', async (t) => {
  const { merge, feeds, seen, over } = mergeOf(Number.POSITIVE_INFINITY);
  merge.seal();
  feeds[0].say([1, 4], [], [9]);
  await turn();
  t.same(seen, [], 'nobody knows what the other has');
  feeds[1].say([2, 3, 5], 'end');
  await turn();
  feeds[0].say([10], 'end');
  await over;
  t.same(seen, [1, 2, 3, 4, 5, 9, 10]);
});

t.test('a source that is silent holds the others up for a while, and not again until it speaks', async (t) => {
  const { clock, merge, feeds, seen, over } = mergeOf(100);
  feeds[0].say([1], [5]);
  await turn();
  t.same(seen, []);
  clock.advance(100);
  await turn();
  t.same(seen, [1, 5]);
  feeds[0].say([6]);
  await turn();
  t.same(seen, [1, 5, 6]);
  feeds[1].say([7]);
  feeds[0].say([8], 'end');
  await turn();
  feeds[1].say([7, 9], 'end');
  merge.seal();
  await over;
  t.same(seen, [1, 5, 6, 7, 7, 8, 9]);
});

t.test('sources come later, and it ends with the last once it is sealed', async (t) => {
  const { merge, feeds, seen, over } = mergeOf(100);
  for (const feed of feeds) feed.say('end');
  await turn();
  const late = new Feed();
  merge.add(late);
  late.say([1], 'end');
  await turn();
  t.same(seen, [1]);
  merge.seal();
  await over;
});

t.test('a source that fails fails the merge', async (t) => {
  const { feeds, over } = mergeOf(100);
  feeds[0].say(new Error('lost'));
  await t.rejects(over, { message: 'lost' });
});
