import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contentSealer } from '@apiary/api/client';
import pino from 'pino';
import t, { type Test } from 'tap';
import type { AssignedContent, ContainerConfig, ContentFile, EngineContainer } from '../../core/index.js';
import { mountFiles, wipe } from './content-mount.js';
import { TaskContents } from './task-contents.js';

const skip = process.getuid?.() === 0 ? false : 'root is needed, for mounts';

function bench(t: Test, containerRoot = { uid: 0, gid: 0 }) {
  const directory = join(mkdtempSync(join(tmpdir(), 'apiary-contents-')), 'contents');
  const options = { directory, containerRoot: () => containerRoot, logger: pino({ level: 'silent' }) };
  const contents = new TaskContents(options);
  t.teardown(async () => {
    for (const name of existsSync(directory) ? readdirSync(directory) : []) await wipe(join(directory, name));
    rmSync(join(directory, '..'), { recursive: true });
  });
  const sealer = contentSealer(contents.contentKey);
  const sent = new Map<string, AssignedContent>();
  const send = (id: string, data: string | Buffer, isTemplate = false) =>
    sent.set(id, { sealed: sealer.seal(Buffer.from(data), id), isTemplate });
  const prepare = (files: ContentFile[], env: string[] = []) =>
    contents.prepare(configOf(files, env), (id) => sent.get(id));
  return { directory, contents, send, prepare, again: () => new TaskContents(options), task: join(directory, 't1') };
}

function configOf(files: ContentFile[], env: string[]): ContainerConfig {
  const facts = {
    service: { id: 's1', name: 'wéb', labels: {} },
    node: { id: 'n1', hostname: 'h1', architecture: 'x86_64', os: 'linux' },
    task: { id: 't1', name: 'wéb.1.t1', slot: 1 },
  };
  return { name: 'web.1.t1', taskId: 't1', body: { Image: 'i' }, contents: { files, facts, env } };
}

function file(kind: 'secret' | 'config', name: string, more: Partial<ContentFile> = {}): ContentFile {
  return {
    kind,
    name,
    contentId: `id-${name}`,
    target: name,
    path: `/x/${name}`,
    uid: 0,
    gid: 0,
    mode: 0o444,
    ...more,
  };
}

const container = (taskId: string, state: EngineContainer['state']): EngineContainer => ({
  id: `c-${taskId}`,
  taskId,
  nodeId: 'n1',
  state,
  pid: 0,
  exitCode: 0,
  oomKilled: false,
  error: '',
  ports: [],
});

/** The line of /proc/mounts for a folder, without its source. */
const mountsAt = (path: string): string[] =>
  readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[1] === path);

t.test(
  'files are in memory alone, as large as they are, with their owner and mode, and go with the task',
  { skip },
  async (t) => {
    const { contents, send, prepare, task } = bench(t);
    send('id-key', Buffer.from([0, 0xff, 0x0a]));
    send('id-big', 'x'.repeat(1_023_999));
    const config = await prepare([
      file('secret', 'key', { uid: 1000, gid: 50, mode: 0o400 }),
      file('config', 'big', { mode: 0o7755 }),
    ]);
    t.match(config.body, {
      HostConfig: { Mounts: [{ Source: join(task, '0'), Target: '/x/key', ReadOnly: true }, {}] },
    });
    const [mount = ''] = mountsAt(task);
    for (const option of ['nosuid', 'nodev', 'noexec', 'mode=700']) t.match(mount, option);
    const [, kib] = /size=(\d+)k/.exec(mount) ?? [];
    t.ok(Number(kib) > 1000 && Number(kib) < 1060, mount);
    t.same(readFileSync(join(task, '0')), Buffer.from([0, 0xff, 0x0a]));
    t.match(statSync(join(task, '0')), { uid: 1000, gid: 50, mode: 0o100400 });
    t.match(statSync(join(task, '1')), { mode: 0o107755, size: 1_023_999 });
    t.equal(statSync(join(task, '..')).mode & 0o777, 0o711);
    await t.rejects(async () => writeMore(join(task, '2')), { code: 'ENOSPC' });
    await prepare([file('secret', 'key')]);
    t.equal(mountsAt(task).length, 1, 'made anew, not on top');
    contents.observe(container('t1', 'running'));
    await contents.settled();
    t.ok(existsSync(join(task, '0')));
    contents.observe(container('t1', 'exited'));
    await contents.settled();
    t.same([mountsAt(task), existsSync(task)], [[], false]);
  },
);

async function writeMore(path: string): Promise<void> {
  const { writeFile } = await import('node:fs/promises');
  await writeFile(path, Buffer.alloc(1_000_000));
}

t.test('who has a file open when it is wiped reads zeros', { skip }, async (t) => {
  const { contents, send, prepare, task } = bench(t);
  send('id-key', 'words');
  await prepare([file('secret', 'key')]);
  const { open } = await import('node:fs/promises');
  const held = await open(join(task, '0'));
  t.teardown(() => held.close());
  contents.forget('t1');
  await contents.settled();
  t.same((await held.read(Buffer.alloc(5), 0, 5, 0)).buffer, Buffer.alloc(5));
});

t.test('a root of containers that is another on the host owns the files', { skip }, async (t) => {
  const { send, prepare, task } = bench(t, { uid: 165_536, gid: 165_536 });
  send('id-key', 'words');
  await prepare([file('secret', 'key', { uid: 7 })]);
  t.match(statSync(join(task, '0')), { uid: 165_543, gid: 165_536 });
  t.match(statSync(task), { uid: 165_536, gid: 165_536 });
});

t.test(
  'templates ask for the task, its variables and its other files, whatever bytes these are',
  { skip },
  async (t) => {
    const { send, prepare, task } = bench(t);
    send('id-key', Buffer.from([0xff, 0, 0x0a]));
    send('id-conf', 'ä');
    send(
      'id-tmpl',
      'é {{.Service.Name}} {{.Task.Slot}} {{env "A"}}{{env "NOPE"}} {{config "conf"}}{{secret "/k"}}',
      true,
    );
    await prepare(
      [file('secret', 'key', { target: '/k' }), file('config', 'conf'), file('secret', 'tmpl')],
      ['A=ü', 'A=2', 'NOTHING'],
    );
    t.same(await readFile(join(task, '2')), Buffer.concat([Buffer.from('é wéb 1 ü ä'), Buffer.from([0xff, 0, 0x0a])]));
    t.equal(await readFile(join(task, '1'), 'utf8'), 'ä');
  },
);

t.test(
  'a template that fails, and a content that is gone, are told, and leave nothing mounted',
  { skip },
  async (t) => {
    const { send, prepare, task } = bench(t);
    send('id-key', 'words');
    const faults: [string, string][] = [
      [
        '{{secret "nope"}}',
        'template: expansion:1:2: executing "expansion" at <secret "nope">: error calling secret: secret target nope not found',
      ],
      [
        'x\n {{.Nope}}',
        `template: expansion:2:3: executing "expansion" at <.Nope>: can't evaluate field Nope in type *template.PayloadContext`,
      ],
      ['{{nope "x"}}', 'template: expansion:1: function "nope" not defined'],
      ['{{', 'template: expansion:1: unclosed action'],
    ];
    for (const [text, fault] of faults) {
      send('id-tmpl', text, true);
      await t.rejects(prepare([file('secret', 'key'), file('config', 'tmpl')]), {
        code: 'invalid-argument',
        message: `config "tmpl": ${fault}`,
      });
    }
    await t.rejects(prepare([file('secret', 'key'), file('config', 'gone')]), {
      code: 'failed-precondition',
      message: 'config not found: gone: it was removed from the swarm',
    });
    await t.rejects(prepare([file('secret', 'key', { contentId: undefined })]), { message: /^secret not found: key/ });
    t.same([mountsAt(task), existsSync(task)], [[], false]);
  },
);

t.test('what a killed agent left is swept, but for what containers still use', { skip }, async (t) => {
  const { directory, again } = bench(t);
  const data = { data: Buffer.from('words'), uid: 0, gid: 0, mode: 0o444 };
  for (const id of ['runs', 'made', 'ended', 'stray', 'known']) {
    await mountFiles(join(directory, id), [data], { uid: 0, gid: 0 });
  }
  const next = again();
  next.adopt(
    [container('runs', 'running'), container('made', 'created'), container('ended', 'exited')],
    (id) => id === 'known',
  );
  await next.settled();
  t.same(readdirSync(directory).sort(), ['known', 'made', 'runs']);
  t.same(mountsAt(join(directory, 'stray')), []);
});
