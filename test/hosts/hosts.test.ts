import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type Hosts, hostsUp, LABS_DIRECTORY, missingForHosts, run, sweep, until } from './index.js';

const COMMAND = fileURLToPath(new URL('./main.js', import.meta.url));
const missing = await missingForHosts();
const skip = missing.length > 0 && `no test hosts here: ${missing.join(' ')}`;
// On a machine that is busy with other tests, engines take their time.
t.setTimeout(120_000);

t.test('three hosts', { skip }, async (t) => {
  const started = performance.now();
  const hosts = await hostsUp(3);
  const elapsedMs = performance.now() - started;
  t.teardown(() => hosts.down());

  t.test('are up with their engines and images in under 5 s', async (t) => {
    t.ok(elapsedMs < 5_000, `${elapsedMs.toFixed(0)} ms`);
    t.equal(hosts.length, 3);
    for (const host of hosts) {
      const images = await host.engineDocker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}');
      t.same(images.stdout.trim().split('\n').sort(), ['busybox:hc', 'busybox:test', 'busybox:test2']);
    }
  });

  t.test('have names, processes and networks of their own', async (t) => {
    for (const host of hosts) {
      t.equal((await host.exec('cat', ['/proc/sys/kernel/hostname'])).stdout.trim(), host.name);
      const addresses = (await host.exec('ip', ['-4', '-o', 'addr', 'show', 'dev', 'eth0'])).stdout;
      t.match(addresses, `inet ${host.address}/24`);
      t.equal((await host.exec('cat', ['/proc/1/cmdline'])).stdout.includes(`-${host.name}\0`), true);
      t.equal((await host.exec('ip', ['route', 'show', 'default'])).stdout, '', 'no default route');
    }
  });

  t.test('reach each other, unless a link is cut', async (t) => {
    t.ok(await reaches(hosts, 1, 2));
    await hosts.host(2).cut();
    t.notOk(await reaches(hosts, 1, 2), 'cut');
    t.ok(await reaches(hosts, 1, 3), 'the others go on');
    await hosts.host(2).heal();
    t.ok(await reaches(hosts, 1, 2), 'healed');
  });

  t.test('have links that delay and drop, and can be cut meanwhile', async (t) => {
    const link = hosts.host(2);
    await link.netem({ delayMs: 40 });
    const delayed = await ping(hosts, 1, 2, 5);
    t.equal(delayed.lost, 0);
    t.ok(delayed.minMs >= 80, `each way 40 ms: round trip ${delayed.minMs} ms`);
    await link.cut();
    t.notOk(await reaches(hosts, 1, 2), 'cut');
    await link.heal();
    t.ok(await reaches(hosts, 1, 2), 'healed');
    await link.netem({ lossPercent: 100 });
    t.notOk(await reaches(hosts, 1, 2), 'all is lost');
    await link.netem({ lossPercent: 30 });
    const lossy = await ping(hosts, 1, 2, 40);
    // A round trip survives with a chance of 0.7 squared: 20 of 40 are lost, with a standard deviation of 3.
    t.ok(lossy.lost > 4 && lossy.lost < 37, `${lossy.lost} of 40 lost`);
    await link.clearNetem();
    const clear = await ping(hosts, 1, 2, 5);
    t.equal(clear.lost, 0);
    t.ok(clear.minMs < 40, `${clear.minMs} ms`);
    await t.rejects(link.netem({ lossPercent: 101 }), { code: 'invalid-argument' });
  });

  t.test('run containers that the machine reaches, at full size through a delayed link', async (t) => {
    const host = hosts.host(3);
    const serve = 'head -c 20000000 /dev/zero > /tmp/file; exec httpd -f -p 80 -h /tmp';
    const ran = await host.engineDocker(
      'run',
      '-d',
      '--name',
      'web',
      '-p',
      '8080:80',
      'busybox:test',
      'sh',
      '-c',
      serve,
    );
    t.equal(ran.code, 0, ran.stderr);
    const download = async () => {
      const response = await fetch(`http://${host.address}:8080/file`);
      return (await response.arrayBuffer()).byteLength;
    };
    t.equal(await until('the container to serve', download), 20_000_000);
    await host.netem({ delayMs: 5 });
    t.equal(await download(), 20_000_000, 'through the relay');
    await host.clearNetem();
    const listed = await host.engineContainers();
    t.same(
      listed.map(({ Names, State }) => [Names, State]),
      [[['/web'], 'running']],
    );
    const pid = (await host.engineDocker('inspect', '--format', '{{.State.Pid}}', 'web')).stdout.trim();
    const cgroup = (await host.exec('cat', [`/proc/${pid}/cgroup`])).stdout;
    t.match(cgroup, `/${hosts.lab.name}/h3/`, "a container's cgroups carry the lab's name");
  });

  t.test('have engines that can be killed and started again', async (t) => {
    const host = hosts.host(3);
    await host.killEngine();
    await t.rejects(host.engineContainers());
    t.throws(() => host.enginePid, { code: 'failed-precondition' });
    await host.startEngine();
    t.equal((await host.engineContainers()).length, 1, 'it knows its container');
  });

  t.test('can lose power and come back with their files', async (t) => {
    const host = hosts.host(2);
    await host.exec('touch', [join(host.directory, 'kept')]);
    await (await host.spawn('sleep', ['1000'], join(host.directory, 'sleep.log'))).pause();
    await host.powerOff();
    t.notOk(await reaches(hosts, 1, 2));
    await host.powerOn();
    await host.startEngine();
    t.ok(await reaches(hosts, 1, 2));
    t.ok(existsSync(join(host.directory, 'kept')));
  });

  t.test('give swarmd a disk that can be full', async (t) => {
    const host = hosts.host(1);
    await host.mountDataRoot({ sizeBytes: 1 << 20 });
    const filled = await host.exec('dd', [
      'if=/dev/zero',
      `of=${join(host.directory, 'swarmd/file')}`,
      'bs=1M',
      'count=2',
    ]);
    t.not(filled.code, 0);
    t.match(filled.stderr, 'No space left on device');
  });

  t.test('run commands with a deadline, and long-running ones that can be paused', async (t) => {
    const host = hosts.host(1);
    t.equal((await host.exec('sh', ['-c', 'exit 7'])).code, 7);
    await t.rejects(host.exec('sleep', ['1000'], { timeoutMs: 200 }), {
      message: /`.*sleep 1000` did not end in 0.2 s/,
    });
    const sleeper = await host.spawn('sleep', ['1001'], join(host.directory, 'sleep.log'));
    await sleeper.pause();
    await sleeper.resume();
    await sleeper.pause();
    sleeper.kill('SIGKILL');
    t.equal(await sleeper.exited, 137);
    const processes = (await host.exec('ps', ['ax'])).stdout;
    t.notMatch(processes, /sleep 100[01]/);
  });

  t.test('are gone after down, with all they made', async (t) => {
    const [one, two] = [hosts.host(1), hosts.host(2)];
    await one.netem({ delayMs: 1 });
    await (await two.spawn('sleep', ['1002'], join(two.directory, 'sleep.log'))).pause();
    await hosts.down();
    t.same(await tracesOf(hosts.lab.name), []);
    await hosts.down();
  });
});

t.test('a run that was killed', { skip }, async (t) => {
  const child = spawn(process.execPath, [COMMAND, 'up', '1'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const name = await labNameFrom(child.stdout);
  t.teardown(() => child.kill('SIGKILL'));

  t.test('is left alone by others as long as it lives', async (t) => {
    t.notMatch(sweep(), [name]);
    t.ok(existsSync(join(LABS_DIRECTORY, name, 'h1/docker.sock')));
  });

  t.test('is removed by the next start', async (t) => {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    t.ok(existsSync(join(LABS_DIRECTORY, name)), 'something was left behind');
    const hosts = await hostsUp(1);
    t.teardown(() => hosts.down());
    t.same(await tracesOf(name), []);
    t.not(hosts.lab.subnet, undefined);
  });
});

t.test('a run that is asked to end removes its hosts', { skip }, async (t) => {
  for (const [signal, code] of [
    ['SIGINT', 0],
    ['SIGTERM', 0],
  ] as const) {
    const child = spawn(process.execPath, [COMMAND, 'up', '1'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const name = await labNameFrom(child.stdout);
    const ended = once(child, 'exit');
    child.kill(signal);
    t.same(await ended, [code, null]);
    t.same(await tracesOf(name), []);
  }
});

t.test(
  'a program that takes no care of signals removes its hosts too, and ends as it would have',
  { skip },
  async (t) => {
    const index = new URL('./index.js', import.meta.url).href;
    const program = `import { hostsUp } from '${index}'; const hosts = await hostsUp(1);
    console.log('in ' + hosts.lab.directory); process.stdin.resume();`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const name = await labNameFrom(child.stdout);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    t.same(await ended, [null, 'SIGTERM']);
    t.same(await tracesOf(name), []);
  },
);

t.test('the command refuses what it does not know', async (t) => {
  const help = await run([process.execPath, COMMAND, '--help']);
  t.equal(help.code, 0);
  t.match(help.stdout, 'sweep');
  for (const args of [['upp'], ['up', 'three'], ['up', '0'], ['sweep', 'x']]) {
    const refused = await run([process.execPath, COMMAND, ...args]);
    t.equal(refused.code, 1, args.join(' '));
    t.equal(refused.stderr.trim().split('\n').length, 1, refused.stderr);
  }
});

t.test('a condition that stays false is reported with its last state and the log', async (t) => {
  const log = join(t.testdir({ log: 'first\nlast words\n' }), 'log');
  const never = () => {
    throw new Error('1 of 3');
  };
  const message =
    /waited for three: gave up after 0.05 s; last state: 1 of 3\n.*last lines of .*\n.*first\n.*last words/;
  await t.rejects(until('three', never, { timeoutMs: 50, log }), { message });
  const hopeless = () => 'it ended';
  await t.rejects(
    until('three', () => false, { hopeless }),
    { message: 'waited for three: it ended; last state: not yet' },
  );
});

/** The lab that `main.js up` says it has made. */
async function labNameFrom(output: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: output })) {
    const name = /in .*\/(ap\w+)$/.exec(line)?.[1];
    if (name !== undefined) {
      output.resume();
      return name;
    }
  }
  throw new Error('the command ended without having made hosts');
}

/** Whatever on this machine still carries a lab's name. */
async function tracesOf(name: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const command = tryRead(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
    const mounts = tryRead(`/proc/${pid}/mountinfo`);
    if (command.includes(name) || mounts.includes(`/${name}/`)) found.push(`process ${pid}: ${command}`);
  }
  const links = await run(['ip', '-o', 'link']);
  if (links.stdout.includes(name)) found.push(links.stdout);
  const cgroups = await run(['find', '/sys/fs/cgroup', '-name', name]);
  found.push(...cgroups.stdout.split('\n').filter((path) => path !== ''));
  if (existsSync(join(LABS_DIRECTORY, name))) found.push(join(LABS_DIRECTORY, name));
  const namespaces = await run(['ip', 'netns', 'list']);
  if (namespaces.stdout.includes(name)) found.push(namespaces.stdout);
  return found;
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function reaches(hosts: Hosts, from: number, to: number): Promise<boolean> {
  return (await ping(hosts, from, to, 1)).lost === 0;
}

async function ping(hosts: Hosts, from: number, to: number, count: number): Promise<{ lost: number; minMs: number }> {
  const { address } = hosts.host(to);
  const { stdout } = await hosts
    .host(from)
    .exec('busybox', ['ping', '-c', `${count}`, '-i', '0.02', '-W', '1', address]);
  const received = Number(/(\d+) packets received/.exec(stdout)?.[1]);
  const minMs = Number(/min\/avg\/max = ([\d.]+)/.exec(stdout)?.[1] ?? Number.NaN);
  return { lost: count - received, minMs };
}
