import { type ContentKind, FOLLOWS, read, type ServiceSpec, ServiceSpecSchema } from '@apiary/api/model';
import { SeededRng } from '@apiary/std';
import t from 'tap';
import { Store } from '../store/index.js';
import {
  createContent,
  createService,
  type Decision,
  putContentVersion,
  removeContent,
  removeService,
  standardBase64,
  updateContent,
  updateService,
} from './index.js';

const base64 = (text: string) => Buffer.from(text).toString('base64');

class Cluster {
  readonly store = new Store();
  readonly making = { rng: new SeededRng(1), digest: (salt: string, text: string) => `${salt}:${text}` };
  #nowMs = 0;

  commit<R>({ guards, changes, result }: Decision<R>): R {
    const atMs = ++this.#nowMs;
    const applied = this.store.apply(this.store.appliedIndex + 1, { atMs, guards, changes });
    t.ok(applied.result.ok);
    return result;
  }

  content(kind: ContentKind, name: string, data = 'x', more: object = {}): string {
    const spec = { Name: name, Data: base64(data), ...more };
    return this.commit(createContent(this.store, { kind, spec }, this.making));
  }

  version(kind: ContentKind, id: string, data: string, more: object = {}): string {
    const version = { Data: base64(data), ...more };
    return this.commit(putContentVersion(this.store, { kind, id, version }, this.making));
  }

  remove(kind: ContentKind, id: string): void {
    this.commit(removeContent(this.store, { kind, id }));
  }

  create(spec: ServiceSpec): string {
    return this.commit(createService(this.store, spec, this.making.rng));
  }

  update(id: string, spec: ServiceSpec, rollback = false): void {
    const version = this.store.service(id)?.meta.version ?? 0;
    this.commit(updateService(this.store, { id, version, spec, rollback }, 1));
  }

  /** What tasks that are made now from the service's spec would have of a name that it follows. */
  followed(id: string, key: string): string | undefined {
    const service = this.store.service(id);
    return service && this.store.spec(id, service.specVersion).contentIds?.[key];
  }
}

const FILE = { Name: 'f', UID: '0', GID: '0', Mode: 0o444 };
const secret = (id: string, name: string, file: object = {}) => ({
  SecretID: id,
  SecretName: name,
  File: { ...FILE, ...file },
});
const config = (id: string, name: string, file: object = {}) => ({
  ConfigID: id,
  ConfigName: name,
  File: { ...FILE, ...file },
});

function service(container: object, more: object = {}): ServiceSpec {
  const Mode = { Replicated: { Replicas: 1 } };
  const TaskTemplate = { ContainerSpec: { Image: 'busybox:test', ...container } };
  return read(ServiceSpecSchema, { Name: 'web', Mode, TaskTemplate, ...more }, 'service spec');
}

t.test('what cannot be a secret or a config is refused in the words of Docker', async (t) => {
  const cluster = new Cluster();
  const kinds = ['secret', 'config'] as const;
  for (const kind of kinds) {
    const limit = kind === 'secret' ? 512_000 : 1_024_000;
    const size = `${kind} data must be larger than 0 and less than ${limit} bytes`;
    const naming =
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]';
    const cases: [object, string, string | RegExp][] = [
      [{}, 'invalid-argument', 'name must be provided'],
      ...['a b', '-a', 'a.', 'a'.repeat(65), 'a\n', 'ä', '../a'].map(
        (Name) => [{ Name, Data: 'YQ==' }, 'invalid-argument', naming] as [object, string, string],
      ),
      [{ Name: 'a' }, 'invalid-argument', size],
      [{ Name: 'a', Data: '' }, 'invalid-argument', size],
      [{ Name: 'a', Data: base64('x'.repeat(limit)) }, 'invalid-argument', size],
      [{ Name: 'a', Data: 'YQ==', Driver: { Name: 'vault' } }, 'unimplemented', /^Driver is not supported/],
      [
        { Name: 'a', Data: 'YQ==', Templating: { Name: 'jinja' } },
        'invalid-argument',
        /unknown template driver "jinja"/,
      ],
    ];
    for (const [spec, code, message] of cases) {
      t.throws(() => createContent(cluster.store, { kind, spec }, cluster.making), { code, message });
    }
    cluster.content(kind, 'a'.repeat(64), 'x'.repeat(limit - 1));
    cluster.content(kind, 'a');
    const message = `${kind} A already exists`;
    t.throws(() => cluster.content(kind, 'A'), { code: 'already-exists', message });
  }
  t.equal(standardBase64('YW\r\nI=\n'), 'YWI=', 'broken into lines, as Go lets pass');
  for (const text of ['Y?==', 'YQ', 'YQ=', 'Y=Q=', '=', 'YQ== ', 'YQ==YQ==']) {
    t.throws(() => standardBase64(text), {
      code: 'invalid-argument',
      message: /^illegal base64 data at input byte \d/,
    });
  }
});

t.test('an update in the way of Docker changes labels alone', async (t) => {
  const cluster = new Cluster();
  const id = cluster.content('secret', 'key', 'x', { Labels: { a: '1' } });
  const update = (version: number, spec: object) =>
    cluster.commit(updateContent(cluster.store, { kind: 'secret', id, version, spec }, cluster.making));
  const refusal = { code: 'invalid-argument', message: 'only updates to Labels are allowed' };
  t.throws(() => update(1, { Name: 'other' }), refusal);
  t.throws(() => update(1, { Name: 'key', Data: base64('y') }), refusal);
  t.throws(() => update(7, { Name: 'key' }), { code: 'out-of-sequence' });
  update(1, { Name: 'key', Data: base64('x'), Labels: { b: '2' } });
  t.match(cluster.store.content('secret', id), {
    spec: { Labels: { b: '2' }, Data: base64('x') },
    meta: { version: 2 },
  });
  update(2, { Name: 'key' });
  t.same(cluster.store.content('secret', id)?.spec.Labels, {});
});

t.test('what docker stack deploy sends for a secret of its stack gives it a new version', async (t) => {
  const cluster = new Cluster();
  const Labels = { 'com.docker.stack.namespace': 'shop' };
  const first = cluster.content('secret', 'shop_key', 'one', { Labels });
  const current = () => cluster.store.contentByName('secret', 'shop_key');
  const deploy = (data: string, more: object = {}, seen = current()) => {
    const request = { id: seen?.id ?? '', version: seen?.meta.version ?? 0 };
    const spec = { Name: 'shop_key', Data: base64(data), Labels, ...more };
    return cluster.commit(updateContent(cluster.store, { kind: 'secret', ...request, spec }, cluster.making));
  };
  const web = cluster.create(service({ Secrets: [secret(first, 'shop_key')] }));
  t.equal(deploy('one', { Labels: { ...Labels, a: '1' } }), first, 'the same data are no new version');
  t.equal(current()?.spec.Labels?.['a'], '1');
  const seen = current();
  const second = deploy('two');
  t.not(second, first);
  t.match(current(), { id: second, spec: { Data: base64('two'), Labels } });
  t.ok(cluster.store.content('secret', first), 'its service still has the one before');
  cluster.update(web, service({ Secrets: [secret(second, 'shop_key')] }));
  t.ok(cluster.store.content('secret', first), 'and can be rolled back to it');
  t.throws(() => deploy('three', {}, seen), { code: 'out-of-sequence' });
  for (const other of [{}, { 'com.docker.stack.namespace': '' }, { 'com.docker.stack.namespace': 'other' }]) {
    t.throws(() => deploy('three', { Labels: other }), { message: 'only updates to Labels are allowed' });
  }
});

t.test(
  'what is in use cannot be removed, and who uses it is said; when nobody does, all its versions go',
  async (t) => {
    const cluster = new Cluster();
    const first = cluster.content('config', 'conf', 'one');
    const web = cluster.create(service({ Configs: [config(first, 'conf')] }));
    const db = cluster.create(service({ Configs: [config(FOLLOWS, 'conf')] }, { Name: 'db' }));
    const second = cluster.version('config', first, 'two');
    const inUse = (services: string) => ({
      code: 'invalid-argument',
      message: `config 'conf' is in use by the following ${services}`,
    });
    t.throws(() => cluster.remove('config', second), inUse('services: db, web'));
    cluster.commit(removeService(cluster.store, db));
    t.throws(() => cluster.remove('config', second), inUse('service: web'));
    cluster.update(web, service({}));
    t.ok(cluster.store.content('config', first), 'the spec before still has it');
    cluster.remove('config', second);
    t.same(
      [first, second].map((id) => cluster.store.content('config', id)),
      [undefined, undefined],
    );
    t.throws(() => cluster.update(web, service({}), true), {
      code: 'invalid-argument',
      message: 'config not found: conf',
    });
  },
);

t.test('neither a removal nor a new service lands on what the other has just done', async (t) => {
  const cluster = new Cluster();
  const id = cluster.content('secret', 'key');
  const spec = service({ Secrets: [secret(id, 'key')] });
  const removal = removeContent(cluster.store, { kind: 'secret', id });
  const creation = createService(cluster.store, spec, cluster.making.rng);
  const land = ({ guards, changes }: Decision<unknown>, store = cluster.store) =>
    store.apply(store.appliedIndex + 1, { atMs: 1, guards, changes }).result;
  const text = [...cluster.store.snapshot()].join('');
  const copy = new Store();
  copy.restore(cluster.store.appliedIndex, [text]);
  t.match(land(removal), { ok: true });
  t.match(land(creation), { ok: false, failed: { type: 'unchanged', kind: 'secret', id } });
  t.match(land(creation, copy), { ok: true });
  t.match(land(removal, copy), { ok: false, failed: { type: 'content-unused', kind: 'secret', name: 'key' } });
});

t.test('a service must name what is there, by id and name, at a target of its own', async (t) => {
  const cluster = new Cluster();
  const key = cluster.content('secret', 'key');
  const conf = cluster.content('config', 'conf');
  const Mounts = [{ Type: 'tmpfs', Target: '/run/secrets/f/' }];
  const climbing = /target ".*" is not the path of a file/;
  const cases: [object, string | RegExp][] = [
    [{ Secrets: [{ SecretName: 'key', File: FILE }] }, 'malformed secret reference'],
    [{ Configs: [{ ConfigID: conf, File: FILE }] }, 'malformed config reference'],
    [{ Secrets: [{ SecretID: key, SecretName: 'key' }] }, 'malformed secret reference, no target provided'],
    [{ Configs: [{ ConfigID: conf, ConfigName: 'conf' }] }, 'invalid Config: either File or Runtime should be set'],
    [
      { Secrets: [secret(key, 'key', { Name: '' })] },
      'malformed file secret reference, invalid target file name provided',
    ],
    [
      { Secrets: [secret(key, 'key'), secret(key, 'key')] },
      "secret references 'key' and 'key' have a conflicting target: 'f'",
    ],
    [{ Secrets: [secret(conf, 'key')] }, 'secret not found: key'],
    [{ Secrets: [secret(key, 'KEY')] }, 'secret not found: KEY'],
    [{ Secrets: [secret('x', 'p'), secret(FOLLOWS, 'q', { Name: 'g' })] }, 'secrets not found: p, q'],
    [{ Configs: [config(key, 'key')] }, 'config not found: key'],
    [{ Secrets: [secret(key, 'key')], Configs: [config(conf, 'conf', { Name: '/run//secrets/./f' })] }, /is also that/],
    [
      { Secrets: [secret(key, 'key')], Mounts },
      'secret "key": its target /run/secrets/f is also that of a mount: give it another target',
    ],
    ...['../x', 'a/../b', '/..', '/', '.', 'a/', 'a\0b'].map(
      (Name) => [{ Secrets: [secret(key, 'key', { Name })] }, climbing] as [object, RegExp],
    ),
    [
      { Secrets: [secret(key, 'key', { UID: 'root' })] },
      'secret "key": UID "root" is not a number from 0 to 4294967294',
    ],
    [{ Secrets: [secret(key, 'key', { GID: '4294967295' })] }, /GID "4294967295"/],
    [{ Configs: [config(conf, 'conf', { Mode: 0o10000 })] }, 'config "conf": Mode 4096 is more than 4095 (07777)'],
  ];
  for (const [container, message] of cases) {
    t.throws(() => cluster.create(service(container)), { code: 'invalid-argument', message });
  }
  const credential = { Configs: [{ ConfigID: conf, ConfigName: 'conf', Runtime: {} }] };
  t.throws(() => cluster.create(service(credential)), { code: 'unimplemented', message: /Configs\[0\]\.Runtime/ });
  cluster.create(
    service({
      Secrets: [secret(key, 'key')],
      Configs: [config(conf, 'conf')],
      Mounts: [{ Type: 'tmpfs', Target: '/run' }],
    }),
  );
});

t.test('a service keeps the version that it names, and one that follows the name is updated', async (t) => {
  const cluster = new Cluster();
  const one = cluster.content('secret', 'key', 'one', { Labels: { a: '1' } });
  const pinned = cluster.create(service({ Secrets: [secret(one, 'key')] }));
  const following = cluster.create(service({ Secrets: [secret(FOLLOWS, 'key')] }, { Name: 'follower' }));
  const job = cluster.create(
    service({ Secrets: [secret(FOLLOWS, 'key')] }, { Name: 'job', Mode: { ReplicatedJob: {} } }),
  );
  t.equal(cluster.version('secret', one, 'one'), one, 'the same data are no other version');
  t.equal(cluster.store.service(following)?.specVersion, 1);
  const two = cluster.version('secret', one, 'two');
  t.not(two, one);
  t.match(cluster.store.contentByName('secret', 'key'), { id: two, spec: { Labels: { a: '1' }, Data: base64('two') } });
  t.equal(cluster.store.service(pinned)?.specVersion, 1);
  t.match(cluster.store.service(following), { specVersion: 2, previous: { specVersion: 1 } });
  t.match(
    cluster.store.service(job),
    { specVersion: 1, job: { iteration: 0 } },
    'what has run does not run again for it',
  );
  t.equal(cluster.followed(following, 'secret/key'), two);
  t.equal(cluster.store.content('secret', one)?.supersededAtMs, 6);

  cluster.update(following, service({ Secrets: [secret(FOLLOWS, 'key')] }, { Name: 'follower' }), true);
  t.equal(cluster.followed(following, 'secret/key'), one, 'a rollback brings the old content back');
  const scaled = { Name: 'follower', Mode: { Replicated: { Replicas: 3 } } };
  cluster.update(following, service({ Secrets: [secret(FOLLOWS, 'key')] }, scaled));
  t.equal(cluster.followed(following, 'secret/key'), one, 'and nothing but a new version or a new spec takes it away');
  cluster.update(following, service({ Env: ['A=1'], Secrets: [secret(FOLLOWS, 'key')] }, scaled));
  t.equal(cluster.followed(following, 'secret/key'), two);
  cluster.update(job, service({ Secrets: [secret(FOLLOWS, 'key')] }, { Name: 'job', Mode: { ReplicatedJob: {} } }));
  t.equal(cluster.followed(job, 'secret/key'), two, 'the next run of a job has what is there then');

  t.equal(cluster.version('secret', two, 'one'), one, 'a version that is still there is taken again');
  t.equal(cluster.followed(following, 'secret/key'), one);
  const other = cluster.version('secret', two, 'one', { Templating: { Name: 'golang' } });
  t.not(other, one, 'data that are expanded are others');
});

t.test('a version goes with the last that can reach it', async (t) => {
  const cluster = new Cluster();
  const one = cluster.content('config', 'conf', 'one');
  const two = cluster.version('config', one, 'two');
  t.equal(cluster.store.content('config', one), undefined, 'nobody had it');
  const id = cluster.create(service({ Configs: [config(two, 'conf')] }));
  const three = cluster.version('config', two, 'three');
  cluster.update(id, service({ Configs: [config(three, 'conf')] }));
  const task = { id: 't', serviceId: id, specVersion: 1, slot: 1, desiredState: 'running' as const };
  const status = { state: 'running' as const, atMs: 1, message: '' };
  const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
  const apply = (changes: Decision<void>['changes']) => cluster.commit({ guards: [], changes, result: undefined });
  apply([{ type: 'task-create', task: { ...task, status, restarts } }]);
  t.ok(cluster.store.content('config', two), 'a rollback may need it, and a task does');
  cluster.update(id, service({ Env: ['A=1'], Configs: [config(three, 'conf')] }));
  t.ok(cluster.store.content('config', two), 'a task still does');
  const copy = new Store();
  copy.restore(cluster.store.appliedIndex, [...cluster.store.snapshot()]);
  t.same(copy.content('config', two), cluster.store.content('config', two));
  apply([{ type: 'task-delete', id: 't' }]);
  t.equal(cluster.store.content('config', two), undefined);
  t.same(
    cluster.store.contentVersions('config', 'conf').map(({ id }) => id),
    [three],
  );
});
