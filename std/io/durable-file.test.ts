import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { replaceFile } from './durable-file.js';

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'durable-file-test-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A process that runs `code` with `replaceFile` and `path` at hand, and says so on its standard output. */
function writer(t: Test, path: string, code: string): ChildProcess {
  const module = JSON.stringify(new URL('./durable-file.js', import.meta.url).href);
  const script = `const { replaceFile } = await import(${module}); const path = ${JSON.stringify(path)}; ${code}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function killOnceItSpeaks(child: ChildProcess): Promise<void> {
  if (child.stdout !== null) await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'close');
}

t.test('a file that is replaced has all of the new content, for its owner alone', async (t) => {
  const path = join(folder(t), 'file');
  writeFileSync(path, 'old', { mode: 0o644 });
  const bytes = await replaceFile(path, async (file) => {
    await file.writeFile('new ');
    await file.writeFile('content');
    return 11;
  });
  t.equal(bytes, 11);
  t.equal(readFileSync(path, 'utf8'), 'new content');
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('what fails half-way leaves the old file, and nothing beside it', async (t) => {
  const directory = folder(t);
  const path = join(directory, 'file');
  writeFileSync(path, 'old');
  const failing = (file: { writeFile(text: string): Promise<void> }) =>
    file.writeFile('half').then(() => Promise.reject(new Error('no more')));
  await t.rejects(replaceFile(path, failing), { message: 'no more' });
  const mayReplace = () => {
    throw new Error('not wanted any more');
  };
  await t.rejects(
    replaceFile(path, (file) => file.writeFile('new'), { mayReplace }),
    { message: 'not wanted any more' },
  );
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.same(readdirSync(directory), ['file']);

  const taken = join(directory, 'folder');
  mkdirSync(taken);
  await t.rejects(
    replaceFile(taken, (file) => file.writeFile('new')),
    { code: 'EISDIR' },
  );
  t.same(readdirSync(directory).sort(), ['file', 'folder']);
});

t.test('a process that is killed half-way leaves the old file, and its rest is in nobody’s way', async (t) => {
  const directory = folder(t);
  const path = join(directory, 'file');
  writeFileSync(path, 'old');
  const halfWay = writer(
    t,
    path,
    `await replaceFile(path, async (file) => {
      await file.writeFile('half');
      process.stdout.write('half is written');
      await new Promise(() => setInterval(() => {}, 1000));
    });`,
  );
  await killOnceItSpeaks(halfWay);
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.same(readdirSync(directory).sort(), ['file', 'file.new']);
  await replaceFile(path, (file) => file.writeFile('new'));
  t.equal(readFileSync(path, 'utf8'), 'new');
  t.same(readdirSync(directory), ['file']);
});

t.test('a process that is killed at any moment leaves one file or the other, whole', async (t) => {
  const path = join(folder(t), 'file');
  const whole = /^(\d+)\n(x*)\n\1\n$/;
  let last = 0;
  for (let round = 0; round < 8; round++) {
    const child = writer(
      t,
      path,
      `const fill = 'x'.repeat(300_000);
      for (let i = ${last + 1}; ; i++) {
        if (i === ${last + 3 + round}) process.stdout.write('go on');
        await replaceFile(path, (file) => file.writeFile(i + '\\n' + fill + '\\n' + i + '\\n'));
      }`,
    );
    await killOnceItSpeaks(child);
    const [, number, fill] = whole.exec(readFileSync(path, 'utf8')) ?? [];
    t.equal(fill?.length, 300_000);
    t.ok(Number(number) >= last + 2 + round, `${number} is there, after ${last + 2 + round} were`);
    last = Number(number);
  }
});
