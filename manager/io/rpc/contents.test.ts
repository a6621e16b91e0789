import { registryAuthHeader } from '@apiary/api/client';
import type { ServiceSpec, TaskStatus } from '@apiary/api/model';
import t from 'tap';
import type { Change } from '../../core/store/change.js';
import { identityOf, openCluster, TestAgent, until } from './test-cluster.js';

/** What agents are sent of secrets and configs. */

const base64 = (text: string) => Buffer.from(text).toString('base64');
const content = (kind: 'secret' | 'config', id: string, name: string, data: string): Change => ({
  type: 'content-create',
  kind,
  content: { id, spec: { Name: name, Data: base64(data) }, hash: `h${id}`, salt: 's' },
});
const service = (id: string, container: object): Change => ({
  type: 'service-create',
  id,
  spec: {
    Name: id,
    TaskTemplate: { ContainerSpec: { Image: 'x', ...container } },
    Mode: { Replicated: { Replicas: 1 } },
  },
});
const task = (id: string, serviceId: string, nodeId: string): Change => ({
  type: 'task-create',
  task: {
    id,
    serviceId,
    specVersion: 1,
    slot: 1,
    nodeId,
    desiredState: 'running',
    status: { state: 'assigned', atMs: 0, message: '' },
    restarts: { attempts: 0, failuresInARow: 0, recentMs: [] },
  },
});

t.test(
  'contents come sealed and before the tasks that need them, to nobody else, and no longer than needed',
  async (t) => {
    const { replica, server, rootCa } = await openCluster(t);
    const words = 'the words of a secret';
    replica.apply([
      content('secret', 'k1', 'key', words),
      content('config', 'c1', 'conf', 'a=1'),
      content('config', 'c2', 'other', 'nobody needs it'),
      service('s1', {
        Secrets: [{ SecretID: 'k1', SecretName: 'key', File: { Name: 'key' } }],
        Configs: [{ ConfigID: 'follow', ConfigName: 'Conf', File: { Name: 'conf' } }],
      }),
      task('t1', 's1', 'w1'),
      task('t2', 's1', 'w1'),
    ]);
    const [one, two] = ['w1', 'w2'].map((id) => new TestAgent(t, server, identityOf(rootCa, id, 'worker')));
    if (one === undefined || two === undefined) throw new Error('two agents');
    two.hello();
    t.match((await two.take('assignments')).value, { complete: true, contents: [], tasks: [] });
    one.hello();
    const { value: early } = await one.take('assignments');
    t.match(early, { complete: false, tasks: [], specs: [] });
    t.same(early.contents.map(({ contentId }) => contentId).sort(), ['c1', 'k1']);
    const sealed = early.contents.find(({ contentId }) => contentId === 'k1')?.sealed ?? Buffer.alloc(0);
    t.notOk(sealed.includes(words));
    t.equal(one.contents.open(sealed, 'k1').toString(), words);
    t.throws(() => two.contents.open(sealed, 'k1'));
    const { value: first } = await one.take('assignments');
    t.match(first, { complete: true, contents: [], specs: [{ contentIds: { 'config/conf': 'c1' } }] });
    t.equal(first.tasks.length, 2);

    const over: TaskStatus = { state: 'failed', atMs: 1, message: 'started', err: 'x' };
    one.report(1, { t1: over });
    await one.take('statusAck');
    replica.apply([{ type: 'task-desired', id: 't2', desiredState: 'shutdown' }]);
    const { value: second } = await one.take('assignments');
    t.match(second, { tasks: [{ taskId: 't2', desiredState: 'shutdown' }] });
    t.same(second.removedContentIds.sort(), ['c1', 'k1'], 'one has ended, and the other is to');

    replica.apply([task('t3', 's1', 'w1')]);
    t.equal((await one.take('assignments')).value.contents.length, 2, 'sent again to who gave it up');
    t.match((await one.take('assignments')).value.tasks, [{ taskId: 't3' }]);
    replica.apply([{ type: 'content-delete', kind: 'secret', name: 'key' }, task('t4', 's1', 'w2')]);
    const { value: rest } = await two.take('assignments');
    t.same(
      rest.contents.map(({ contentId }) => contentId),
      ['c1'],
      'what was removed goes nowhere',
    );
  },
);

t.test('what an image is pulled with comes sealed, anew when it changes, and goes when it is no more', async (t) => {
  const { replica, server, rootCa } = await openCluster(t);
  const auth = (words: string) => registryAuthHeader({ username: 'u', password: words });
  const spec = (Image: string): ServiceSpec => ({ Name: 's1', TaskTemplate: { ContainerSpec: { Image } } });
  const put = (change: object): Change => ({
    type: 'service-spec',
    id: 's1',
    spec: spec('x'),
    previous: 'keep-as-previous',
    ...change,
  });
  replica.apply([
    { type: 'service-create', id: 's1', spec: spec('x'), registryAuth: auth('first') },
    task('t1', 's1', 'w1'),
  ]);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  agent.hello();
  const { contents } = (await agent.take('assignments')).value;
  const id = 'registry-auth s1 1';
  const opened = (sealed: Uint8Array = Buffer.alloc(0)) => agent.contents.open(sealed, id).toString();
  t.same(
    contents.map(({ contentId }) => contentId),
    [id],
  );
  t.same(JSON.parse(opened(contents[0]?.sealed)), { username: 'u', password: 'first' });
  const { value: first } = await agent.take('assignments');
  t.notMatch(JSON.stringify([first.specs, first.tasks]), /password|registryAuth/);

  replica.apply([put({ registryAuth: auth('second') })]);
  const { value: second } = await agent.take('assignments');
  t.match(second, { tasks: [], specs: [], removedContentIds: [] });
  t.match(opened(second.contents[0]?.sealed), /second/);
  replica.apply([put({}), put({ spec: spec('y') })]);
  t.match(replica.view.spec('s1', 2), { registryAuth: auth('second') }, 'a new version has what the one before had');
  replica.apply([put({ spec: spec('z'), registryAuth: '' })]);
  t.notOk(replica.view.spec('s1', 3).registryAuth);
  t.match(replica.view.spec('s1', 2), { registryAuth: auth('second') }, 'which is kept for who goes back to it');
  replica.apply([{ type: 'task-desired', id: 't1', desiredState: 'shutdown' }]);
  t.same((await agent.take('assignments')).value.removedContentIds, [id]);
});

t.test('large contents go one after the other, and each session is sent them anew', async (t) => {
  const { replica, server, rootCa } = await openCluster(t);
  const names = ['a', 'b', 'c', 'd', 'e'];
  replica.apply([
    ...names.map((name) => content('config', `id-${name}`, name, name.repeat(1_000_000))),
    service('s1', {
      Configs: names.map((Name) => ({ ConfigID: `id-${Name}`, ConfigName: Name, File: { Name } })),
    }),
    task('t1', 's1', 'w1'),
  ]);
  for (let session = 0; session < 2; session++) {
    const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
    agent.hello();
    const came: string[] = [];
    for (;;) {
      const { value } = await agent.take('assignments');
      for (const { contentId, sealed } of value.contents) {
        came.push(contentId);
        t.equal(agent.contents.open(sealed, contentId).length, 1_000_000);
      }
      t.ok(value.contents.length <= 2);
      if (value.complete) break;
      t.same(value.tasks, []);
    }
    t.same(
      came.sort(),
      names.map((name) => `id-${name}`),
    );
  }
});

t.test('an agent without a key is sent away once it is to have a content', async (t) => {
  const { replica, server, rootCa } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  const descriptionJson = '';
  const description = { descriptionJson, advertiseAddr: '', engineError: '', managerAddr: '', wireguardKey: '' };
  agent.say({ $case: 'hello', value: { contentKey: Buffer.from('no key'), description } });
  await agent.take('assignments');
  replica.apply([
    content('secret', 'k1', 'key', 'x'),
    service('s1', { Secrets: [{ SecretID: 'k1', SecretName: 'key', File: { Name: 'key' } }] }),
    task('t1', 's1', 'w1'),
  ]);
  t.match(await agent.ended, { code: 'invalid-argument', message: 'a content key has 32 bytes' });
  await until(replica, () => true);
});
