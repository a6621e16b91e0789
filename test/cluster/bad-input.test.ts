import { rankOf, type ServiceSpec, type Task, type TaskState } from '@apiary/api/model';
import t, { type Test } from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, serviceSpec, skipWithoutHosts } from './cluster.js';

t.setTimeout(120_000);

/** Asserts that a promise is rejected with an error of a code whose words match. */
async function refused(t: Test, promise: Promise<unknown>, code: string, words: RegExp): Promise<void> {
  await t.rejects(promise, { code, message: words });
}

t.test('a cluster', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.hosts(t, 2);
  const [first, second] = [cluster.hosts.host(1), cluster.hosts.host(2)];
  const { manager } = cluster;
  await Promise.all([first.startSwarmd(), second.startSwarmd()]);
  await manager.swarmInit({ ListenAddr: '0.0.0.0:2377', AdvertiseAddr: first.address });
  const create = (body: unknown) => manager.request('POST', '/services/create', { body });

  t.test('is not joined with a wrong token, a wrong CA digest, or through what is no manager', async (t) => {
    const token = (await manager.swarmInspect()).JoinTokens.Worker;
    const [prefix, version, digest = '', secret = ''] = token.split('-');
    const join = (address: string, parts: unknown[]) =>
      cluster.client(2).swarmJoin({
        RemoteAddrs: [address],
        JoinToken: parts.join('-'),
        AdvertiseAddr: second.address,
        ListenAddr: '0.0.0.0:2377',
      });
    const address = `${first.address}:2377`;
    const wrongSecret = [prefix, version, digest, otherFirst(secret)];
    await refused(t, join(address, wrongSecret), 'unauthenticated', /invalid join token: its secret is wrong/);
    const wrongDigest = [prefix, version, otherFirst(digest), secret];
    await refused(t, join(address, wrongDigest), 'unauthenticated', /remote CA does not match fingerprint/);
    await refused(t, join(address, ['hello']), 'invalid-argument', /invalid join token: expected SWMTKN-1-/);
    const nobody = `${second.address}:2377`;
    await refused(t, join(nobody, [token]), 'unavailable', new RegExp(`nothing listens at ${nobody}`));
    const webServer = await first.spawn(
      'busybox',
      ['httpd', '-f', '-p', `${first.address}:9000`],
      `${first.directory}/httpd.log`,
    );
    await until('the web server to listen', async () =>
      (await first.exec('ss', ['-Hltn', 'sport', '=', ':9000'])).stdout.includes(':9000'),
    );
    await refused(t, join(`${first.address}:9000`, [token]), 'unavailable', /:9000 is no manager of a cluster/);
    webServer.kill('SIGKILL');
    t.equal((await cluster.client(2).info()).Swarm.LocalNodeState, 'inactive', 'nothing is left of the attempts');
    t.equal((await manager.nodes()).length, 1);
    await join(address, [token]);
    await cluster.nodeIs(2, 'ready');
    await refused(t, join(address, [token]), 'not-manager', /already part of a swarm/);
    await refused(t, cluster.client(2).services(), 'not-manager', /not a swarm manager/);
  });

  t.test('refuses services of an invalid name, or of one that is taken', async (t) => {
    for (const name of ['-a', 'a b', 'a/b', 'é', ' web', 'a.b', '_a']) {
      await refused(t, create(serviceSpec(name, { replicas: 1 })), 'invalid-argument', /valid as a DNS name component/);
    }
    const long = serviceSpec('x'.repeat(64), { replicas: 1 });
    await refused(t, create(long), 'invalid-argument', /63 characters or fewer/);
    t.teardown(() => cluster.remove('taken'));
    await cluster.create('taken', { replicas: 0 });
    await refused(t, cluster.create('taken', { replicas: 1 }), 'already-exists', /service taken already exists/);
    const docker = await first.docker('service', 'create', '--name', 'taken', 'busybox:test');
    t.equal(docker.code, 1);
    t.match(docker.stderr, /name conflicts with an existing object: service taken already exists/);
    t.same(
      (await manager.services()).map(({ Spec }) => Spec.Name),
      ['taken'],
      'no other service was made',
    );
  });

  t.test('gives a name that two ask for at once to one of them', async (t) => {
    t.teardown(() => cluster.remove('twin'));
    const attempts = Array.from({ length: 8 }, (_, i) => cluster.create('twin', { replicas: i }));
    const outcomes = await Promise.allSettled(attempts);
    const refusals = outcomes.filter((outcome) => outcome.status === 'rejected');
    t.equal(refusals.length, 7);
    for (const { reason } of refusals) t.match(reason, { code: 'already-exists' });
    t.equal((await manager.services({ name: ['twin'] })).length, 1);
  });

  t.test('refuses specs that are wrong, and says where', async (t) => {
    const replicas = (value: unknown) =>
      create({ ...serviceSpec('wrong', { replicas: 1 }), Mode: { Replicated: { Replicas: value } } });
    const path = 'Mode.Replicated.Replicas: ';
    for (const wrong of [-1, 1.5, '3', 1e20, 100_001, 2 ** 31]) {
      await refused(t, replicas(wrong), 'invalid-argument', new RegExp(path));
    }
    const container = (fields: object, template: object = {}) => {
      const { TaskTemplate, ...rest } = serviceSpec('wrong', { replicas: 1 });
      const ContainerSpec = { ...TaskTemplate.ContainerSpec, ...fields };
      return create({ ...rest, TaskTemplate: { ...TaskTemplate, ContainerSpec, ...template } });
    };
    const mount = { Type: 'tmpfs', Target: '/x', TmpfsOptions: { SizeBytes: '12' } };
    const where = /TaskTemplate\.ContainerSpec\.Mounts\[0\]\.TmpfsOptions\.SizeBytes: expected number, got "12"/;
    await refused(t, container({ Mounts: [mount] }), 'invalid-argument', where);
    await refused(t, container({ Env: ['a=b', 3] }), 'invalid-argument', /TaskTemplate\.ContainerSpec\.Env\[1\]: /);
    const limits = { Resources: { Limits: { NanoCPUs: {} } } };
    await refused(t, container({}, limits), 'invalid-argument', /TaskTemplate\.Resources\.Limits\.NanoCPUs: /);
    await refused(t, container({ Colour: 'red' }), 'invalid-argument', /ContainerSpec\.Colour: unknown key/);
    t.same(await manager.services(), [], 'none of them was made');
    const docker = await first.docker('service', 'create', '--replicas', '100001', 'busybox:test');
    t.equal(docker.code, 1, docker.stderr);
  });

  t.test('knows no service that is not there', async (t) => {
    await refused(t, manager.service('nope'), 'not-found', /service nope not found/);
    await refused(t, manager.removeService('nope'), 'not-found', /service nope not found/);
    const spec = serviceSpec('nope', { replicas: 1 });
    await refused(t, manager.updateService('nope', 1, spec), 'not-found', /service nope not found/);
    for (const command of ['inspect', 'rm', 'ps', 'update']) {
      t.not((await first.docker('service', command, 'nope')).code, 0, command);
    }
  });

  t.test('refuses an update of a version that is not the newest', async (t) => {
    t.teardown(() => cluster.remove('versioned'));
    await cluster.create('versioned', { replicas: 0 });
    const { Spec, Version } = await manager.service('versioned');
    const update = (version: number, value: string) => {
      const spec: ServiceSpec = { ...Spec, Labels: { value } };
      return manager.updateService('versioned', version, spec);
    };
    await update(Version.Index, 'first');
    await refused(t, update(Version.Index, 'second'), 'out-of-sequence', /update out of sequence/);
    await refused(t, update(Version.Index + 1_000, 'third'), 'out-of-sequence', /update out of sequence/);
    const body = { body: Spec };
    await refused(t, manager.request('POST', '/services/versioned/update', body), 'invalid-argument', /version ''/);
    t.same((await manager.service('versioned')).Spec.Labels, { value: 'first' });
  });

  t.test('rejects tasks of an image that does not exist, in the words of the engine, ever less often', async (t) => {
    t.teardown(() => cluster.remove('no-image'));
    const restartDelayMs = 300;
    await cluster.create('no-image', { replicas: 1, image: 'no-such-image:1', restartDelayMs });
    const seen = new Map<string, Task>();
    for await (const { tasks } of manager.watchService('no-image')) {
      for (const task of tasks) seen.set(task.ID, task);
      if ([...seen.values()].filter(({ Status }) => Status.State === 'rejected').length >= 6) break;
    }
    const rejected = [...seen.values()].filter(({ Status }) => Status.State === 'rejected');
    for (const { Status } of rejected) t.match(Status.Err, /No such image: no-such-image:1/);
    const made = rejected.map(({ CreatedAt }) => Date.parse(CreatedAt)).sort((a, b) => a - b);
    const gapsMs = made.slice(1).map((at, i) => at - (made[i] ?? 0));
    // The first replacement is made at once, to be prepared while it waits for its time; it fails in that.
    for (const gapMs of gapsMs.slice(1)) t.ok(gapMs >= restartDelayMs - 20, `attempts lie apart: ${gapsMs} ms`);
    t.ok((gapsMs.at(-1) ?? 0) >= 4 * restartDelayMs, `ever further: ${gapsMs} ms`);
    t.equal((await cluster.containers('no-image')).length, 0);
  });

  t.test('says on the command line what is wrong, and fails', async (t) => {
    t.teardown(() => cluster.remove('hopeless'));
    const create = (...args: string[]) => first.swarmctl('service', 'create', '--name', 'hopeless', ...args);
    const flag = await create('--colour', 'red', 'busybox:test');
    t.equal(flag.code, 125);
    t.match(flag.stderr, /^unknown flag: --colour\n/);
    const negative = await create('--replicas', '-1', 'busybox:test');
    t.equal(negative.code, 125);
    t.match(negative.stderr, /invalid argument "-1" for "--replicas"/);
    const huge = await create('--replicas', '100001', 'busybox:test');
    t.equal(huge.code, 1);
    t.match(huge.stderr, /100001 is more than a service can have/);
    t.same(await manager.services(), [], 'nothing was made');
    for (const command of ['inspect', 'rm', 'ps']) {
      const unknown = await first.swarmctl('service', command, 'nope');
      t.equal(unknown.code, 1, command);
      t.match(unknown.stderr, /no such service: nope|service nope not found/);
    }
    const hopeless = await create('--timeout', '500ms', '--restart-delay', '0s', 'no-such-image:1');
    t.equal(hopeless.code, 1);
    t.match(hopeless.stderr, /service \S+ has not converged: nothing has got on for 500ms/);
    t.match(hopeless.stderr, /No such image: no-such-image:1/);
    t.equal((await manager.services()).length, 1, 'the service stays, for the image may come');
  });

  t.test('gives up a task after the attempts that it was allowed', async (t) => {
    t.teardown(() => cluster.remove('two-attempts'));
    const options = { replicas: 1, image: 'no-such-image:1', restartDelayMs: 0, maxAttempts: 2 };
    await cluster.create('two-attempts', options);
    const states = () => cluster.tasks('two-attempts').then((tasks) => tasks.map(({ Status }) => Status.State));
    await until('three rejected tasks', async () => (await states()).join() === 'rejected,rejected,rejected');
    // Whatever is planned next is planned with the next request at the latest.
    await cluster.create('after', { replicas: 0 });
    t.teardown(() => cluster.remove('after'));
    t.same(await states(), ['rejected', 'rejected', 'rejected']);
  });

  t.test('leaves nothing of a service that is removed while it is being created', async (t) => {
    const reached = (state: TaskState) => (tasks: Task[]) =>
      tasks.some(({ Status }) => rankOf(Status.State) >= rankOf(state));
    const moments: [string, (tasks: Task[]) => boolean][] = [
      ['at once', () => true],
      ['once it had tasks', (tasks) => tasks.length > 0],
      ['once they had nodes', reached('assigned')],
      ['while containers were made', reached('preparing')],
      ['once one ran', reached('running')],
    ];
    for (const [moment, isReached] of moments) {
      const id = await cluster.create('short-lived', { replicas: 8 });
      for await (const { tasks } of manager.watchService(id)) if (isReached(tasks)) break;
      await manager.removeService(id);
      await refused(t, manager.service(id), 'not-found', /not found/);
      await until(`the tasks to go that were removed ${moment}`, async () => (await manager.tasks()).length === 0);
      await cluster.gone('short-lived');
    }
  });

  t.test('can be asked for the name again while what was removed is still going', async (t) => {
    t.teardown(() => cluster.remove('again'));
    for (const replicas of [4, 2, 3]) {
      await cluster.create('again', { replicas });
      if (replicas !== 3) await manager.removeService('again');
    }
    await until('three containers', async () => (await cluster.containers('again')).length === 3);
    await cluster.settled('again', 3);
  });
});

t.test('a daemon', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.hosts(t, 1);
  const host = cluster.hosts.host(1);
  await host.startSwarmd();
  const [command, ...args] = host.swarmdCommand();
  const start = (change: (flag: string | undefined, value: string) => string, more: string[] = []) =>
    host.exec(command, [...args.map((value, i) => change(args[i - 1], value)), ...more], { timeoutMs: 15_000 });
  const elsewhere = (flag: string | undefined, value: string) =>
    flag === '--data-root' || flag === '--exec-root' ? `${value}-2` : value;

  t.test('refuses a flag that it does not know', async (t) => {
    const { code, stderr } = await start((_, value) => value, ['--colour', 'red']);
    t.equal(code, 2);
    t.match(stderr, /swarmd: Unknown option '--colour'/);
    t.notMatch(stderr, /\n\s+at /, 'no stack');
  });

  t.test('refuses a data root that another one has', async (t) => {
    const { code, stderr } = await start((flag, value) => (flag === '--host' ? `${value}-2` : value));
    t.equal(code, 1);
    t.match(stderr, `data root ${host.directory}/swarmd is in use by another swarmd`);
    t.equal((await cluster.manager.ping())['api-version'] === undefined, false, 'which runs on');
  });

  t.test('refuses a socket that another one listens on, and leaves it as it is', async (t) => {
    const { code, stderr } = await start(elsewhere);
    t.equal(code, 1);
    t.match(stderr, `unix://${host.swarmdSocket} is in use: another swarmd listens there`);
    t.equal((await cluster.manager.version()).Version.length > 0, true, 'the other one still answers there');
  });

  t.test('refuses a port that is taken, a relative path and a TCP address that others reach', async (t) => {
    const holder = await host.spawn('busybox', ['httpd', '-f', '-p', '127.0.0.1:9000'], `${host.directory}/httpd.log`);
    t.teardown(() => holder.kill('SIGKILL'));
    await until('the web server to listen', async () =>
      (await host.exec('ss', ['-Hltn', 'sport', '=', ':9000'])).stdout.includes(':9000'),
    );
    const away = (flag: string | undefined, value: string) =>
      flag === '--host' ? `${value}-2` : elsewhere(flag, value);
    const taken = await start(away, ['--host', 'tcp://127.0.0.1:9000']);
    t.equal(taken.code, 1);
    t.match(taken.stderr, 'cannot listen on tcp://127.0.0.1:9000');
    const open = await start(away, ['--host', 'tcp://0.0.0.0:9001']);
    t.equal(open.code, 2);
    t.match(open.stderr, '--host tcp://0.0.0.0:9001: expected tcp://127.0.0.1:PORT');
    const relative = await start((flag, value) => (flag === '--data-root' ? 'data' : value));
    t.equal(relative.code, 2);
    t.match(relative.stderr, '--data-root data: expected an absolute path');
  });

  t.test('refuses to be called where nobody could call it', async (t) => {
    const init = (AdvertiseAddr: string, ListenAddr: string) =>
      cluster.manager.swarmInit({ AdvertiseAddr, ListenAddr });
    await refused(t, init('0.0.0.0', ''), 'invalid-argument', /^advertise address must be a non-zero IP address/);
    await refused(t, init('10.0.0.1:0', ''), 'invalid-argument', /^invalid advertise address "10.0.0.1:0": port 0/);
    await refused(t, init(host.address, '0.0.0.0:0'), 'invalid-argument', /^invalid listen address "0.0.0.0:0"/);
    await refused(t, init(host.address, 'eth7'), 'invalid-argument', /^listen address "eth7" is neither/);
  });

  t.test('is ready as a manager whose address leads to another device, listening on an interface', async (t) => {
    await cluster.manager.swarmInit({ AdvertiseAddr: '10.255.255.254', ListenAddr: 'eth0' });
    await cluster.nodeIs(1, 'ready');
    t.match((await host.exec('ss', ['-Hltn'])).stdout, ` ${host.address}:2377 `);
  });

  t.test("takes what docker's own command line sends", async (t) => {
    await cluster.manager.swarmLeave(true);
    const { code, stderr } = await host.docker('swarm', 'init', '--advertise-addr', host.address);
    t.equal(code, 0, stderr);
    const left = await host.docker('swarm', 'leave', '--force');
    t.equal(left.code, 0, left.stderr);
    const data = await host.docker('swarm', 'init', '--advertise-addr', host.address, '--data-path-addr', '0.0.0.0');
    t.equal(data.code, 1);
    t.match(
      data.stderr,
      'data path address must be a non-zero IP address or network interface (without a port number)',
    );
  });
});

/** The word with another first character. */
function otherFirst(word: string): string {
  return `${word.startsWith('a') ? 'b' : 'a'}${word.slice(1)}`;
}
