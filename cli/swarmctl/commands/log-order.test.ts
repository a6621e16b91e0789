import t from 'tap';
import { inOrderOfTime, type LogLine } from './log-order.js';

async function* lines(...times: number[]): AsyncGenerator<LogLine, void, void> {
  for (const second of times) yield { to: 'out', text: `${second}`, time: `2026-01-01T00:00:0${second}.000000000Z ` };
}

t.test('lines of several services are shown in the order of their times', async (t) => {
  const shown: string[] = [];
  for await (const { text } of inOrderOfTime([lines(2, 3, 9), lines(), lines(1, 4, 4), lines(5)])) shown.push(text);
  t.same(shown, ['1', '2', '3', '4', '4', '5', '9']);
});

t.test('a source that fails is not passed over', async (t) => {
  async function* failing(): AsyncGenerator<LogLine, void, void> {
    yield* lines(1);
    throw new Error('lost');
  }
  const all = async () => {
    for await (const { text } of inOrderOfTime([lines(2), failing()])) t.equal(text, '1');
  };
  await t.rejects(all(), { message: 'lost' });
});
