import t from 'tap';
import { checkDependencies } from '../requests/dependency-label.js';
import { HollowCluster } from './hollow-cluster.test.js';

const LABEL = 'com.apiary.depends-on';

function after(...on: string[]) {
  return { Labels: { [LABEL]: on.join(',') } };
}

function errors(cluster: HollowCluster, id: string): (string | undefined)[] {
  return [...new Set(cluster.tasks(id).flatMap(({ status }) => (status.state === 'pending' ? [status.err] : [])))];
}

function running(cluster: HollowCluster, id: string): number {
  return cluster.tasks(id).filter(({ status }) => status.state === 'running').length;
}

t.test('a service waits until what it depends on is there and healthy, and says for what', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1');
  cluster.createService('web', { replicas: 2, ...after('db:service_healthy') });
  cluster.run(2_000);
  t.equal(running(cluster, 'web'), 0);
  t.same(errors(cluster, 'web'), ['waiting for service db, which is not there']);
  const { entries } = cluster;
  cluster.run(10_000);
  t.equal(cluster.entries, entries, 'waiting writes nothing');

  cluster.createService('db', { replicas: 2 });
  cluster.settle();
  t.same(errors(cluster, 'web'), ['waiting for service db to be healthy (0 of 2 tasks are)']);
  cluster.run(2_000);
  t.equal(running(cluster, 'db'), 2);
  t.equal(running(cluster, 'web'), 2, 'it goes on by itself');
});

t.test('once it has started it waits no more, unless new versions are to', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1');
  cluster.createService('db');
  cluster.createService('web', after('db:service_started'));
  cluster.createService('careful', after('db:service_healthy:update'));
  cluster.run(3_000);
  cluster.scale('db', 0);
  cluster.run(3_000);
  cluster.scale('db', 1);
  cluster.images.set('new', { missing: true });
  cluster.setImage('db', 'new');
  cluster.run(3_000);
  t.equal(running(cluster, 'db'), 0);
  cluster.setImage('web', 'app:2');
  cluster.setImage('careful', 'app:2');
  cluster.run(5_000);
  t.equal(running(cluster, 'web'), 1);
  t.equal(running(cluster, 'careful'), 0);
  t.same(errors(cluster, 'careful'), ['waiting for service db to be healthy (0 of 1 tasks are)']);
});

t.test('a service waits for another to have ended well', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1');
  cluster.images.set('migrate', { exits: { afterMs: 1_000, code: 0 } });
  cluster.images.set('broken', { exits: { afterMs: 500, code: 1 } });
  cluster.createService('migration', {
    image: 'migrate',
    Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 2 } },
  });
  cluster.createService('failing', { image: 'broken', Mode: { ReplicatedJob: {} } });
  cluster.createService('web', after('migration:service_completed_successfully'));
  cluster.createService('never', after('failing:service_completed_successfully', 'web:service_started'));
  cluster.run(1_500);
  t.equal(running(cluster, 'web'), 0);
  t.match(errors(cluster, 'web')[0], /^waiting for service migration to complete \([01] of 2 tasks have\)$/);
  cluster.run(5_000);
  t.equal(running(cluster, 'web'), 1);
  t.same(errors(cluster, 'never'), ['waiting for service failing to complete (0 of 1 tasks have)']);
});

t.test('global services wait, too', async (t) => {
  const cluster = new HollowCluster();
  for (const id of ['h1', 'h2']) cluster.addNode(id);
  cluster.createService('agent', { Mode: { Global: {} }, ...after('db:service_started') });
  cluster.run(1_000);
  t.equal(running(cluster, 'agent'), 0);
  cluster.createService('db');
  cluster.run(3_000);
  t.equal(running(cluster, 'agent'), 2);
});

t.test('services that would wait for each other are refused, and what cannot be read', async (t) => {
  const cluster = new HollowCluster();
  cluster.createService('a', after('b:service_started'));
  cluster.createService('b', after('c:service_healthy'));
  const check =
    (name: string, ...on: string[]) =>
    () =>
      checkDependencies(cluster.store, name, { TaskTemplate: {}, ...after(...on) });
  t.throws(check('c', 'a:service_started'), { message: /for each other for ever: c -> a -> b -> c/ });
  t.throws(check('d', 'd'), { message: /d -> d/ });
  t.throws(check('d', 'a:running'), { message: /"a:running": expected SERVICE:CONDITION/ });
  t.doesNotThrow(check('d', 'a:service_started:update', 'c'));
});
