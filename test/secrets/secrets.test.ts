import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Cluster, type PlacedContainer, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, imageArchive, until } from '../hosts/index.js';
import { filesWith, formsOf, memoryWith, processesWith } from './words.js';

t.setTimeout(300_000);
t.test('secrets and configs of tasks', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 2, { args: ['--log-level', 'trace'] });
  const [manager, worker] = [cluster.hosts.host(1), cluster.hosts.host(2)];
  // However long an agent takes to start again here, its node is not taken for down meanwhile.
  await manager.mustSwarmctl('swarm', 'update', '--dispatcher-heartbeat', '20s');

  /** A file on a host with what is to become a secret, and its path there. */
  const fileOf = (name: string, data: string | Buffer): string => {
    const path = join(manager.directory, name);
    writeFileSync(path, data);
    return path;
  };
  const make = (kind: string, name: string, data: string | Buffer, ...flags: string[]) =>
    manager.mustSwarmctl(kind, 'create', ...flags, name, fileOf('data', data));
  const create = (name: string, flags: string[], ...command: string[]) => {
    const given = ['--name', name, '--constraint', 'node.hostname==h2', ...flags];
    return manager.mustSwarmctl('service', 'create', '-d', ...given, 'busybox:test', ...command);
  };
  const inside = async ({ Id, host }: PlacedContainer, command: string): Promise<string> => {
    const { code, stdout, stderr } = await host.engineDocker('exec', Id, 'sh', '-c', command);
    return code === 0 ? stdout.trim() : `exit ${code}: ${stdout}${stderr}`;
  };
  /** What is mounted of tasks' files on a host. */
  const mountsOf = async (host: Host): Promise<string[]> => {
    const { stdout } = await host.exec('cat', ['/proc/self/mounts']);
    return stdout.split('\n').filter((line) => line.includes('/swarmd-exec/contents/'));
  };
  const wiped = (host: Host) =>
    until('the files of tasks to go', async () => {
      const mounts = await mountsOf(host);
      if (mounts.length > 0) throw new Error(mounts.join('\n'));
      return true;
    });
  t.test('are there before the process starts, for whom they are meant, whatever the container may do', async (t) => {
    t.teardown(() => cluster.remove('web'));
    await make('secret', 'key', Buffer.from([0, 0xff, 0x0a, 0x41]));
    await make('config', 'conf', 'a=1\n');
    await make('config', 'tmpl', '{{.Service.Name}} {{env "MODE"}} {{secret "key"}}', '--template-driver', 'golang');
    await make('config', 'large', randomBytes(1_023_999));
    const secret = 'source=key,target=key,uid=1000,gid=50,mode=0400';
    const flags = ['--read-only', '--user', '1000:50', '--env', 'MODE=fast', '--secret', secret];
    const configs = [
      '--config',
      'conf',
      '--config',
      'large',
      '--config',
      'source=tmpl,target=/etc/deep/down/tmpl,mode=0444',
    ];
    const first = 'stat -c "%n %u %g %a %s" /run/secrets/key /conf /etc/deep/down/tmpl; exec sleep 1d';
    await create('web', [...flags, ...configs], 'sh', '-c', first);
    const [container] = await cluster.settled('web', 1);
    if (container === undefined) throw new Error('no container');
    const logs = await until('the lines of its start', async () => {
      const { stdout } = await worker.engineDocker('logs', container.Id);
      if (stdout.split('\n').length < 4) throw new Error(stdout);
      return stdout;
    });
    t.equal(logs, '/run/secrets/key 1000 50 400 4\n/conf 0 0 444 4\n/etc/deep/down/tmpl 0 0 444 13\n');
    t.equal(await inside(container, 'od -An -tx1 /run/secrets/key'), '00 ff 0a 41');
    t.equal(await inside(container, 'head -c 9 /etc/deep/down/tmpl; cat /conf'), 'web fast a=1');
    t.equal(await inside(container, 'wc -c < /large'), '1023999');
    t.match(await inside(container, 'echo x > /run/secrets/key'), /Read-only|Permission/);
    t.match(await inside(container, 'grep /run/secrets/key /proc/mounts'), /^tmpfs \S+ tmpfs ro,/);
    t.match((await mountsOf(worker))[0], / rw,nosuid,nodev,noexec,.*size=\d+k/);
  });

  t.test('what cannot be is told, and nothing is left mounted', async (t) => {
    await make('config', 'bad', '{{secret "nope"}}', '--template-driver', 'golang');
    await make('config', 'plain', 'x');
    const fault = async (name: string, flags: string[]): Promise<string> => {
      t.teardown(() => cluster.remove(name));
      await create(name, ['--restart-condition', 'none', ...flags], 'sleep', '1d');
      return until(`${name} to fail`, async () => {
        const [task] = await cluster.tasks(name);
        if (task?.Status.Err === undefined) throw new Error(task?.Status.State ?? 'no task');
        return `${task.Status.State}: ${task.Status.Err}`;
      });
    };
    t.equal(
      await fault('template', ['--config', 'source=bad,target=/b']),
      'rejected: config "bad": template: expansion:1:2: executing "expansion" at <secret "nope">: ' +
        'error calling secret: secret target nope not found',
    );
    t.match(
      await fault('folder', ['--config', 'source=plain,target=/etc']),
      /^failed: starting container failed: .*\/etc/,
    );
    await cluster.remove('template');
    const left = (await mountsOf(worker)).length;
    await until('the files of what never ran to go', async () => {
      const now = await mountsOf(worker);
      if (now.length > 1) throw new Error(now.join('\n'));
      return true;
    });
    t.ok(left <= 2);
    const climbing = await manager.swarmctl(
      'service',
      'create',
      '--config',
      'source=plain,target=../x',
      'busybox:test',
    );
    t.match(climbing.stderr, /target "..\/x" is not the path of a file/);
  });

  t.test('what makes no sense is refused when it is said', async (t) => {
    const refused = async (kind: string, data: Buffer) => {
      const { code, stderr } = await manager.swarmctl(kind, 'create', 'never', fileOf('never', data));
      t.not(code, 0);
      return stderr;
    };
    t.match(await refused('secret', Buffer.alloc(0)), /secret data must be larger than 0 and less than 512000 bytes/);
    t.match(
      await refused('secret', Buffer.alloc(512_000)),
      /secret data must be larger than 0 and less than 512000 bytes/,
    );
    t.match(
      await refused('config', Buffer.alloc(1_024_000)),
      /config data must be larger than 0 and less than 1024000 bytes/,
    );
    await make('secret', 'largest', randomBytes(511_999));
    const twice = ['--config', 'source=plain,target=/x', '--config', 'source=conf,target=/x'];
    const { stderr } = await manager.swarmctl('service', 'create', ...twice, 'busybox:test');
    t.match(stderr, /duplicate config target for conf not allowed/);
  });

  t.test('a secret that is removed while a task starts leaves nothing behind', async (t) => {
    const running = async () => (await worker.engineContainers()).filter(({ State }) => State === 'running').length;
    const before = await running();
    for (let round = 0; round < 3; round++) {
      const name = `fleeting${round}`;
      await make('secret', name, `the words of ${name}`);
      await create(name, ['--secret', name, '--config', 'plain', '--stop-grace-period', '100ms'], 'sleep', '1d');
      const inUse = await manager.swarmctl('secret', 'rm', name);
      t.match(inUse.stderr, new RegExp(`secret '${name}' is in use by the following service: ${name}`));
      await manager.mustSwarmctl('service', 'rm', name);
      await manager.mustSwarmctl('secret', 'rm', name);
    }
    await wiped(worker);
    await until('the containers to go', async () => {
      if ((await running()) > before) throw new Error(`${await running()} run`);
      return true;
    });
  });

  t.test('survive the agent, and are swept when their container went meanwhile', async (t) => {
    t.teardown(() => cluster.remove('stays'));
    await create('stays', ['--secret', 'key'], 'sleep', '1d');
    const [container] = await cluster.settled('stays', 1);
    if (container === undefined) throw new Error('no container');
    await worker.killSwarmd();
    t.equal(await inside(container, 'od -An -tx1 /run/secrets/key'), '00 ff 0a 41');
    await worker.startSwarmd({ args: ['--log-level', 'trace'] });
    await cluster.nodeIs(2, 'ready');
    t.equal((await cluster.settled('stays', 1))[0]?.Id, container.Id, 'the same container');
    t.equal(await inside(container, 'od -An -tx1 /run/secrets/key'), '00 ff 0a 41');
    await worker.killSwarmd();
    await worker.engineDocker('rm', '-f', container.Id);
    await cluster.manager.removeService('stays');
    t.not((await mountsOf(worker)).length, 0);
    await worker.startSwarmd({ args: ['--log-level', 'trace'] });
    await wiped(worker);
  });

  t.test('a service that follows a name is updated to its new version, and goes back when rolled back', async (t) => {
    t.teardown(() => cluster.remove('follower'));
    await make('secret', 'turns', 'one');
    await create('follower', ['--secret', 'source=turns,follow=true', '--update-delay', '0s'], 'sleep', '1d');
    const has = async (words: string) =>
      until(
        `the service to have ${words}`,
        async () => {
          const [container] = await cluster.settled('follower', 1);
          const found = container && (await inside(container, 'cat /run/secrets/turns'));
          if (found !== words) throw new Error(String(found));
          return true;
        },
        { timeoutMs: 60_000 },
      );
    t.ok(await has('one'));
    await manager.mustSwarmctl('secret', 'update', 'turns', fileOf('data', 'two'));
    t.ok(await has('two'));
    await manager.mustSwarmctl('service', 'update', '-d', '--rollback', 'follower');
    t.ok(await has('one'));
  });

  t.test("a secret's words are nowhere once its task has ended", async (t) => {
    const words = `the words ${randomBytes(24).toString('hex')} are secret`;
    const forms = formsOf(words);
    await make('secret', 'words', words);
    writeFileSync(join(manager.directory, 'data'), '');
    await make('config', 'around', 'before {{secret "words"}} after', '--template-driver', 'golang');
    await create('short', ['--secret', 'words', '--config', 'around'], 'sleep', '1d');
    const [container] = await cluster.settled('short', 1);
    if (container === undefined) throw new Error('no container');
    t.equal(await inside(container, 'cat /run/secrets/words /around'), `${words}before ${words} after`);
    const pid = agentOf(worker);
    // As they are in the state too: a word of the name, and the start of the root's key.
    const known = [...forms, Buffer.from('around'), Buffer.from('PRIVATE KEY')];
    const passphrase = fileOf('passphrase', 'of the test');
    const backups = join(manager.directory, 'backups');
    mkdirSync(backups);
    await manager.mustSwarmctl('backup', '--plain', '-o', join(backups, 'in-clear'));
    t.same(filesWith(forms, backups), [join(backups, 'in-clear')], 'what is looked for is in the state');
    rmSync(join(backups, 'in-clear'));
    await manager.mustSwarmctl('backup', '--passphrase-file', passphrase, '-o', join(backups, 'encrypted'));
    t.same(filesWith([...known, Buffer.from('of the test')], backups), [], 'in a backup');
    t.same(memoryWith(forms, pid), [], 'not even while the task runs');
    t.not(memoryWith(forms, agentOf(manager)).length, 0, 'a manager has it in its state: it would be found');
    t.same(processesWith(forms), [], 'in arguments and environments');
    const shown = await worker.engineDocker('inspect', container.Id);
    t.notOk(forms.some((form) => shown.stdout.includes(form.toString('latin1'))));
    await cluster.remove('short');
    await wiped(worker);
    t.same(memoryWith(forms, pid), [], 'in the memory of the agent, and in the files that are mapped into it');
    t.same(await coreWith(worker, forms, pid), [], 'in its core dump');
    const audits = [manager, worker].map((host) => join(host.directory, 'swarmd', 'audit.log'));
    t.ok(readFileSync(audits[0] ?? '', 'utf8').includes('POST /secrets/create'), 'there is an audit log');
    for (const host of [manager, worker]) {
      t.same(
        filesWith(forms, join(host.directory, 'swarmd')),
        [],
        `in the data root of ${host.name}, the audit log with it`,
      );
      t.same(filesWith(forms, join(host.directory, 'swarmd-exec')), []);
      const log = readFileSync(host.swarmdLog);
      t.ok(log.length > 0 && !forms.some((form) => log.includes(form)), `in the log of ${host.name}`);
    }
    const engine = join(worker.directory, 'docker', 'containers');
    t.same(filesWith(forms, engine), [], 'in what the engine keeps of containers');
  });

  t.test(
    'with user namespaces, a task that is not root reads what is its own, on a root that is read-only',
    async (t) => {
      t.teardown(() => cluster.remove('remapped'));
      const ids = join(worker.directory, 'ids');
      // Whom the engine maps containers' root to: one of this machine's accounts has to stand for it.
      writeFileSync(ids, 'daemon:300000:65536\n');
      for (const file of ['/etc/subuid', '/etc/subgid']) await worker.exec('mount', ['--bind', ids, file]);
      for (const path of [join(worker.directory, '..'), worker.directory]) chmodSync(path, 0o711);
      await worker.killEngine();
      await worker.startEngine(['--userns-remap', 'daemon:daemon']);
      await worker.loadImages(imageArchive());
      await make('secret', 'own', 'of the task');
      const flags = ['--read-only', '--user', '1000:50', '--secret', 'source=own,target=own,uid=1000,gid=50,mode=0400'];
      await create('remapped', [...flags, '--config', 'source=plain,target=/p,mode=0440,gid=50'], 'sleep', '1d');
      const [container] = await cluster.settled('remapped', 1);
      if (container === undefined) throw new Error('no container');
      t.match(await inside(container, 'cat /proc/self/uid_map'), /^\s*0\s+300000\s+65536$/);
      t.equal(await inside(container, 'id -u; cat /run/secrets/own /p'), '1000\nof the taskx');
      t.equal(await inside(container, 'stat -c "%u %g %a" /run/secrets/own /p'), '1000 50 400\n0 50 440');
      t.match(await inside(container, 'echo x > /run/secrets/own'), /Read-only|Permission/);
      const { stdout } = await worker.exec('sh', [
        '-c',
        `stat -c '%u %g' ${worker.directory}/swarmd-exec/contents/*/0`,
      ]);
      t.equal(stdout.trim(), '301000 300050', 'by the numbers of the host');
      await cluster.remove('remapped');
      await wiped(worker);
    },
  );
});

/** What gdb writes down of a process has one of the forms in it; nothing where there is no gdb: its memory is read as well. */
async function coreWith(host: Host, forms: readonly Buffer[], pid: number): Promise<string[]> {
  const directory = join(host.directory, 'core');
  mkdirSync(directory);
  const { status, error } = spawnSync('gcore', ['-a', '-o', join(directory, 'core'), String(pid)], { stdio: 'ignore' });
  if (error !== undefined) return [];
  if (status !== 0) throw new Error(`gcore ended with ${status}`);
  const found = filesWith(forms, directory);
  rmSync(directory, { recursive: true });
  return found;
}

/** The swarmd of a host, by the number that it has outside of it. */
function agentOf(host: Host): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const found = pids.filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words[0]?.endsWith('node') && words.includes(join(host.directory, 'swarmd'));
    } catch {
      return false;
    }
  });
  if (found.length !== 1) throw new Error(`processes of swarmd on ${host.name}: ${found}`);
  return Number(found[0]);
}
