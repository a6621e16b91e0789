import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Cluster, skipWithoutHosts } from './cluster.js';

t.setTimeout(280_000);

const STACK = `
x-service: &service
  image: busybox:test
  stop_grace_period: 1s
services:
  web:
    <<: *service
    command: sh -c 'echo web is up; exec sleep 1d'
    networks: [front]
    configs: [{source: site, target: /etc/site.conf}]
    environment: {MODE: "$MODE"}
    depends_on: {db: {condition: service_healthy}}
    deploy: {replicas: 2, update_config: {monitor: 500ms}}
  worker:
    <<: *service
    command: sleep 1d
    networks: [back]
    depends_on:
      redis: {condition: service_started}
      migration: {condition: service_completed_successfully}
    deploy: {update_config: {monitor: 500ms}}
  redis:
    <<: *service
    networks: [back]
    deploy: {update_config: {monitor: 500ms}}
  migration:
    <<: *service
    command: sh -c 'test -s /run/secrets/password'
    secrets: [password]
    networks: [back]
    depends_on: {db: {condition: service_healthy}}
    deploy: {mode: replicated-job, replicas: 1}
  db:
    <<: *service
    command: sh -c 'sleep 2; touch /tmp/ready; exec sleep 1d'
    secrets: [password]
    networks: [back]
    healthcheck: {test: test -e /tmp/ready, interval: 500ms, retries: 20}
    deploy: {update_config: {monitor: 500ms}}
networks:
  front:
  back:
secrets:
  password: {file: ./password}
configs:
  site: {file: ./site.conf}
`;

/** The folder of a stack's files. */
function folder(t: Test): (name: string, text: string) => string {
  const path = mkdtempSync(join(tmpdir(), 'apiary-stack-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return (name, text) => {
    writeFileSync(join(path, name), text);
    return join(path, name);
  };
}

t.test('a stack of several services on three hosts', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const host = cluster.hosts.host(1);
  const write = folder(t);
  const file = write('stack.yml', STACK.replace('$MODE', 'one'));
  write('password', 'secret');
  write('site.conf', 'a');
  const deploy = (...args: string[]) =>
    host.swarmctl('stack', 'deploy', '--timeout', '60s', '-c', file, ...args, 'shop');
  const idsOf = async () => (await cluster.manager.tasks()).map(({ ID }) => ID).sort();
  const settle = async () => {
    await cluster.settled('shop_web', 2);
    await cluster.settled('shop_worker', 1);
  };

  t.test('is deployed, each service after what it waits for', async (t) => {
    const { code, stdout, stderr } = await deploy();
    t.equal(code, 0, stdout + stderr);
    t.match(stdout, /^shop_db: converged$/m);
    const startedAt = async (name: string) =>
      (await cluster.tasks(name)).map(({ Status }) => Status.Timestamp).sort()[0] ?? '';
    const db = await startedAt('shop_db');
    for (const name of ['shop_web', 'shop_migration', 'shop_worker'])
      t.ok((await startedAt(name)) > db, `${name} came later`);
    t.ok((await startedAt('shop_worker')) > (await startedAt('shop_migration')));
    t.match((await host.swarmctl('stack', 'ls')).stdout, /^shop +5\s*$/m);
    t.match((await host.swarmctl('stack', 'services', 'shop')).stdout, /shop_web +replicated +2\/2/);
    t.match((await host.swarmctl('stack', 'logs', 'shop')).stdout, /web is up/);
    t.match((await host.docker('stack', 'ls')).stdout, /^shop +5\s*$/m);
  });

  t.test('is left as it is by a second deploy', async (t) => {
    const before = await idsOf();
    t.match(await host.mustSwarmctl('stack', 'plan', '-c', file, 'shop'), /0 to create, 0 to update/);
    t.equal((await deploy()).code, 0);
    t.same(await idsOf(), before);
  });

  t.test('changes by a plan, as long as nobody else has changed it', async (t) => {
    write('stack.yml', STACK.replace('$MODE', 'two'));
    const text = await host.mustSwarmctl('stack', 'plan', '-c', file, 'shop');
    t.match(text, /^~ service shop_web: update\n +TaskTemplate\.ContainerSpec\.Env\[MODE\]: "one" -> "two"$/m);
    const plan = write('plan.json', await host.mustSwarmctl('stack', 'plan', '--format', 'json', '-c', file, 'shop'));
    await host.mustSwarmctl('service', 'scale', '--detach', 'shop_redis=2');
    const refused = await host.swarmctl('stack', 'deploy', '--plan', plan, 'shop');
    t.equal(refused.code, 1);
    t.match(refused.stderr, /service shop_redis has changed/);
    write('plan.json', await host.mustSwarmctl('stack', 'plan', '--format', 'json', '-c', file, 'shop'));
    const { code, stdout, stderr } = await host.swarmctl('stack', 'deploy', '--timeout', '60s', '--plan', plan, 'shop');
    t.equal(code, 0, stdout + stderr);
    const [web] = await cluster.manager.services({ name: ['shop_web'] });
    t.same(web?.Spec.TaskTemplate.ContainerSpec?.Env, ['MODE=two']);
    await settle();
  });

  t.test('has a new version of a config when its file has changed', async (t) => {
    write('site.conf', 'b');
    const { code, stdout, stderr } = await deploy();
    t.equal(code, 0, stdout + stderr);
    t.match(stdout, /Updating config shop_site/);
    const [config] = await cluster.manager.configs.list({ name: ['shop_site'] });
    t.equal(Buffer.from(config?.Spec.Data ?? '', 'base64').toString(), 'b');
    const [web] = await cluster.manager.services({ name: ['shop_web'] });
    t.equal(web?.Spec.TaskTemplate.ContainerSpec?.Configs?.[0]?.ConfigID, config?.ID);
  });

  t.test('loses what the file has no more, and says what fails', async (t) => {
    const smaller = STACK.replace(/^ {2}worker:\n[\s\S]*?(?=^ {2}redis:$)/m, '').replace(
      'busybox:test',
      'no/such:image',
    );
    write('stack.yml', smaller);
    const { code, stderr } = await host.swarmctl('stack', 'deploy', '--prune', '--timeout', '5s', '-c', file, 'shop');
    t.equal(code, 1);
    t.match(stderr, /service shop_redis/);
    t.match(stderr, /no\/such:image/);
    t.same(await cluster.manager.services({ name: ['shop_worker'] }), []);
  });

  t.test('is gone when its removal ends, so that it can be deployed again at once', async (t) => {
    write('stack.yml', STACK);
    for (const round of [1, 2]) {
      const { code, stdout, stderr } = await host.swarmctl('stack', 'rm', 'shop');
      t.equal(code, 0, stdout + stderr);
      t.same(await idsOf(), [], `round ${round}`);
      t.same(await cluster.manager.networks({ label: ['com.docker.stack.namespace=shop'] }), []);
      const again = await host.swarmctl('stack', 'deploy', '--detach', '-c', file, 'shop');
      t.equal(again.code, 0, again.stderr);
    }
    await settle();
  });

  t.test('is what docker stack makes of the file, too', async (t) => {
    await host.mustSwarmctl('stack', 'rm', 'shop');
    write('stack.yml', STACK.replace(/ {4}depends_on:.*\n( {6}.*\n)*/g, ''));
    const specs = async () => {
      const services = await cluster.manager.services();
      return services.map(({ Spec }) => JSON.stringify(Spec.TaskTemplate.ContainerSpec?.Env ?? Spec.Name)).sort();
    };
    t.equal((await deploy('--detach')).code, 0);
    const ours = await specs();
    await settle();
    const removed = await host.docker('stack', 'rm', 'shop');
    t.equal(removed.code, 0, removed.stderr);
    await host.swarmctl('stack', 'rm', 'shop');
    const theirs = await host.docker('stack', 'deploy', '-c', file, '--detach=true', 'shop');
    t.equal(theirs.code, 0, theirs.stderr);
    t.same(await specs(), ours);
    await settle();
    t.equal((await host.swarmctl('stack', 'rm', 'shop')).code, 0);
  });
});
