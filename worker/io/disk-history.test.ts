import { mkdir, mkdtemp, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '@apiary/std';
import fc from 'fast-check';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { type KeptFile, type OutputLine, outdated } from '../core/index.js';
import { DiskHistory } from './disk-history.js';

const HOUR_MS = 3_600_000;

async function directory(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'apiary-history-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return join(path, 'history');
}

function historyIn(path: string, limits = { maxAgeMs: HOUR_MS, maxBytes: 64 * 1024 }, clock = new VirtualClock(1e12)) {
  return { clock, history: new DiskHistory({ directory: path, limits, clock, logger: pino({ level: 'silent' }) }) };
}

const task = (taskId: string, serviceId = 's1') => ({
  taskId,
  taskName: `web.1.${taskId}`,
  serviceId,
  serviceName: 'web',
});

async function* output(...texts: string[]): AsyncGenerator<OutputLine[]> {
  for (const [i, text] of texts.entries()) {
    const timestamp = `2026-01-01T00:00:00.${String(i).padStart(9, '0')}Z`;
    yield [{ stream: i % 2 === 0 ? 'stdout' : 'stderr', timestamp, data: Buffer.from(text) }];
  }
}

async function textsOf(history: DiskHistory, taskId: string): Promise<string[]> {
  const texts: string[] = [];
  for await (const lines of history.read(taskId)) {
    for (const { stream, timestamp, data } of lines)
      texts.push(`${stream} ${timestamp.slice(-4)} ${Buffer.from(data)}`);
  }
  return texts;
}

const idsOf = async (history: DiskHistory, wanted: Parameters<DiskHistory['find']>[0]) =>
  (await history.find(wanted)).map(({ taskId }) => taskId);

t.test('what a task wrote is found by its service, its name and itself, also by the next daemon', async (t) => {
  const path = await directory(t);
  const { history } = historyIn(path);
  t.same(await idsOf(history, { service: 's1' }), [], 'before there is anything');
  await history.keep(task('t2'), output('one\n', 'zwei ä\n', 'no line feed'));
  await history.keep(task('t1', 's2'), output('x\n'));
  await history.keep(task('t3'), output());
  const all = ['stdout 000Z one\n', 'stderr 001Z zwei ä\n', 'stdout 002Z no line feed'];
  t.same(await textsOf(history, 't2'), all);
  await writeFile(join(path, 't9.part'), 'cut off');
  await writeFile(join(path, 't8'), 'no head');
  const next = historyIn(path).history;
  t.same(await idsOf(next, { service: 's1' }), ['t2']);
  t.same(await idsOf(next, { service: 'web' }), ['t1', 't2']);
  t.match(await next.find({ taskId: 't1' }), [{ taskName: 'web.1.t1', serviceId: 's2' }]);
  t.same(await textsOf(next, 't2'), all);
  t.same(await textsOf(next, 't8'), []);
  t.same((await readdir(path)).sort(), ['t1', 't2'], 'what is not whole is gone, and of silence nothing is kept');
  await next.clear();
  t.same(await idsOf(next, { service: 'web' }), []);
  await t.rejects(readdir(path), { code: 'ENOENT' });
});

t.test(
  'only the last of what one task wrote is kept, and what is too old or too much goes, oldest first',
  async (t) => {
    const path = await directory(t);
    const { history, clock } = historyIn(path, { maxAgeMs: HOUR_MS, maxBytes: 20_000 });
    const line = `${'x'.repeat(999)}\n`;
    await history.keep(task('a'), output(...Array.from({ length: 100 }, () => line)));
    const kept = await textsOf(history, 'a');
    t.equal(kept.length, 19, 'as many lines as there is room for');
    t.match(kept.at(-1), /^stderr 099Z/, 'the last ones');
    clock.advance(1);
    await history.keep(task('b'), output('y\n'));
    t.same(await idsOf(history, { service: 'web' }), ['b'], 'both together are too much');
    clock.advance(HOUR_MS + 1);
    t.same(await idsOf(history, { service: 'web' }), [], 'too old');
    t.same(await readdir(path), []);
  },
);

t.test('nothing is kept when that is what was asked for, nor where it cannot be', async (t) => {
  const path = await directory(t);
  for (const limits of [
    { maxAgeMs: 0, maxBytes: 1000 },
    { maxAgeMs: 1000, maxBytes: 0 },
  ]) {
    const { history } = historyIn(path, limits);
    await history.keep(task('a'), output('x\n'));
    t.same(await idsOf(history, { service: 'web' }), []);
  }
  await writeFile(path, 'a file in the place of the folder');
  const { history } = historyIn(path);
  await t.resolves(history.keep(task('a'), output('x\n')), 'a removal goes on');
  t.same(await idsOf(history, { service: 'web' }), []);
});

t.test(
  'what cannot be looked through is tried again by whoever asks next, and goes when the node leaves',
  async (t) => {
    const path = await directory(t);
    await historyIn(path).history.keep(task('a'), output('x\n'));
    const odd = join(path, 'odd');
    await mkdir(odd);
    const { history } = historyIn(path);
    await t.rejects(history.find({ service: 'web' }), /odd/);
    await rmdir(odd);
    t.same(await idsOf(history, { service: 'web' }), ['a']);
    await mkdir(odd);
    await historyIn(path).history.clear();
    await t.rejects(readdir(path), { code: 'ENOENT' });
  },
);

t.test('what stays is the newest, within the bounds, and nothing goes that need not', async () => {
  const file = fc.record({ keptAtMs: fc.nat(100), bytes: fc.nat(20_000) });
  const limits = fc.record({ maxAgeMs: fc.nat(100), maxBytes: fc.nat(60_000) });
  fc.assert(
    fc.property(fc.array(file, { maxLength: 12 }), limits, (list, limits) => {
      const files: KeptFile[] = list.map((each, i) => ({ ...task(`t${i}`), ...each }));
      const gone = new Set(outdated(files, limits, 100));
      const stays = files.filter((each) => !gone.has(each));
      const size = ({ bytes }: KeptFile) => Math.max(bytes, 4096);
      const total = stays.reduce((sum, each) => sum + size(each), 0);
      const isWithin = total <= limits.maxBytes && stays.every(({ keptAtMs }) => 100 - keptAtMs <= limits.maxAgeMs);
      const newestGone = [...gone].filter(({ keptAtMs }) => 100 - keptAtMs <= limits.maxAgeMs);
      return (
        isWithin &&
        newestGone.every((each) => stays.every(({ keptAtMs }) => keptAtMs >= each.keptAtMs)) &&
        (newestGone.length === 0 || total + Math.max(...newestGone.map(size)) > limits.maxBytes)
      );
    }),
  );
});
