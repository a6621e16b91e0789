import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Cluster, skipWithoutHosts } from '../cluster/cluster.js';
import { type Outcome, until } from '../hosts/index.js';
import { missingForVoting, votingArchives } from './voting-images.js';

t.setTimeout(280_000);

const STACK = `
x-deploy: &deploy
  update_config: {monitor: 500ms}
  rollback_config: {monitor: 500ms}
  restart_policy: {delay: 500ms}
services:
  web:
    image: voting:1
    command: httpd -f -p 80 -h /www
    ports: ["8080:80"]
    networks: [front, back]
    configs: [{source: title, target: /etc/title}]
    secrets: [signature]
    depends_on: [redis]
    healthcheck: {test: "redis-cli -h redis ping", interval: 1s, retries: 30}
    deploy: {<<: *deploy, replicas: 2}
  worker:
    image: voting:1
    command: worker
    networks: [back]
    secrets: [db_password]
    depends_on: [redis, db]
    healthcheck: {test: "test -e /tmp/ready", interval: 500ms, retries: 60}
    deploy: *deploy
  redis:
    image: voting:1
    command: redis-server /etc/redis.conf
    networks: [back]
    configs: [{source: redis, target: /etc/redis.conf}]
    healthcheck: {test: "redis-cli ping", interval: 500ms, retries: 60}
    deploy: *deploy
  db:
    image: voting-db:1
    command: database
    networks: [back]
    secrets: [db_password]
    healthcheck: {test: "pg_isready -q -h 127.0.0.1", interval: 500ms, retries: 60}
    deploy: {<<: *deploy, placement: {constraints: [node.hostname == h1]}}
  banner:
    image: busybox:test
    networks: [front]
    deploy: *deploy
networks:
  front:
  back:
configs:
  title: {file: ./title}
  redis: {file: ./redis.conf}
secrets:
  db_password: {file: ./db_password}
  signature: {file: ./signature}
`;

const WITHOUT_BANNER = STACK.replace(/^ {2}banner:\n[\s\S]*?(?=^networks:$)/m, '');
const REPLICAS = { voting_web: 2, voting_worker: 1, voting_redis: 1, voting_db: 1, voting_banner: 1 };

/** A command line that deploys stacks. */
interface Tool {
  deploy(file: string, ...args: string[]): Promise<Outcome>;
  rollback(service: string): Promise<Outcome>;
  remove(): Promise<Outcome>;
}

/** The voting application on a cluster, and the files that it is made from. */
class Voting {
  readonly #folder = mkdtempSync(join(tmpdir(), 'apiary-voting-'));
  readonly file = join(this.#folder, 'stack.yml');

  constructor(
    t: Test,
    readonly cluster: Cluster,
  ) {
    t.teardown(() => rmSync(this.#folder, { recursive: true }));
  }

  write(files: Record<string, string>): void {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.#folder, name), text);
  }

  /** What any host's page says, once it says so. */
  async page(expected: string): Promise<void> {
    const { cluster } = this;
    for (const host of cluster.hosts) {
      await until(
        `the page of ${host.name} to be "${expected}"`,
        async () => {
          const { stdout } = await host.exec('curl', ['-sm5', `http://${host.address}:8080/cgi-bin/result`]);
          if (stdout.trim() !== expected) throw new Error(`it says ${JSON.stringify(stdout)}`);
          return true;
        },
        { timeoutMs: 60_000, intervalMs: 100, log: cluster.hosts.host(1).swarmdLog },
      );
    }
  }

  async vote(host: number, choice: string): Promise<void> {
    const { address } = this.cluster.hosts.host(host);
    const url = `http://${address}:8080/cgi-bin/vote?${choice}`;
    const { stdout } = await this.cluster.hosts.host(1).exec('curl', ['-sm5', url]);
    if (stdout !== 'thanks\n') throw new Error(`voting at h${host} was answered by ${JSON.stringify(stdout)}`);
  }

  async settled(services: readonly string[]): Promise<void> {
    for (const [name, replicas] of Object.entries(REPLICAS)) {
      if (services.includes(name)) await this.cluster.settled(name, replicas);
    }
  }

  /** The end of an update is noted in the service, whose version somebody who changes it in that moment would not know. */
  async updatesOver(): Promise<void> {
    await until('every update to be over', async () => {
      const states = (await this.cluster.manager.services()).map(({ UpdateStatus }) => UpdateStatus?.State ?? '');
      return !states.some((state) => ['updating', 'rollback_started'].includes(state));
    });
  }

  /** All that the stack is made of, without what differs from one deploy to the next. */
  async objects() {
    const { manager } = this.cluster;
    const filters = { label: ['com.docker.stack.namespace=voting'] };
    const networks = await manager.networks(filters);
    const names = new Map(networks.map(({ Id, Name }) => [Id, Name]));
    const services = (await manager.services(filters)).map(({ Spec }) => {
      // A condition of depends_on is a label, which Docker's client does not send.
      const { 'com.apiary.depends-on': _, ...Labels } = Spec.Labels ?? {};
      const text = JSON.stringify({ ...Spec, Labels }, (key, value) => {
        if (key === 'SecretID' || key === 'ConfigID' || isEmpty(value)) return undefined;
        return key === 'Target' ? (names.get(value) ?? value) : value;
      });
      return JSON.parse(text);
    });
    const byName = (a: { Name?: string }, b: { Name?: string }) => ((a.Name ?? '') < (b.Name ?? '') ? -1 : 1);
    return {
      services: services.sort(byName),
      networks: networks
        .map(({ Name, Driver, Labels, Attachable }) => ({ Name, Driver, Labels, Attachable }))
        .sort(byName),
      secrets: (await manager.secrets.list(filters)).map(({ Spec }) => Spec).sort(byName),
      configs: (await manager.configs.list(filters)).map(({ Spec }) => Spec).sort(byName),
    };
  }
}

/** Docker's client says some things by objects in which there is nothing. */
function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.values(value).every((each) => each === null);
}

/** Deploys, updates, rolls back, prunes and removes. @returns what there was after each step */
async function life(t: Test, voting: Voting, tool: Tool) {
  const seen: Awaited<ReturnType<Voting['objects']>>[] = [];
  const done = async (step: string, { code, stdout, stderr }: Outcome, services = Object.keys(REPLICAS)) => {
    t.equal(code, 0, `${step}: ${stdout}${stderr}`);
    await voting.settled(services);
    seen.push(await voting.objects());
  };
  voting.write({ 'stack.yml': STACK, title: 'Cats or dogs?', signature: 'one', db_password: 'swordfish' });
  voting.write({ 'redis.conf': 'protected-mode no\nsave ""\n' });
  await done('deploy', await tool.deploy(voting.file));
  const tasks = async () => (await voting.cluster.manager.tasks()).map(({ ID }) => ID).sort();
  const before = await tasks();
  await done('second deploy', await tool.deploy(voting.file));
  t.same(await tasks(), before, 'the same files change nothing');
  await voting.vote(1, 'cats');
  await voting.vote(2, 'dogs');
  await voting.vote(3, 'cats');
  await voting.page('page 1, Cats or dogs?, signed one: cats 2, dogs 1');

  voting.write({ 'stack.yml': STACK.replace('voting:1', 'voting:2'), title: 'Tea or coffee?', signature: 'two' });
  await done('update', await tool.deploy(voting.file));
  await voting.page('page 2, Tea or coffee?, signed two: cats 2, dogs 1');

  await voting.updatesOver();
  await done('rollback', await tool.rollback('voting_web'));
  await voting.page('page 1, Cats or dogs?, signed one: cats 2, dogs 1');

  voting.write({ 'stack.yml': WITHOUT_BANNER });
  await voting.updatesOver();
  const left = Object.keys(REPLICAS).filter((name) => name !== 'voting_banner');
  await done('prune', await tool.deploy(voting.file, '--prune'), left);
  t.equal(seen.at(-1)?.services.length, left.length);
  await voting.page('page 1, Tea or coffee?, signed two: cats 2, dogs 1');

  await done('remove', await tool.remove(), []);
  t.same(seen.at(-1), { services: [], networks: [], secrets: [], configs: [] });
  t.same(await voting.cluster.manager.tasks(), []);
  return seen;
}

const missing = missingForVoting();

t.test(
  'a voting application lives the same life through swarmctl and through docker',
  { skip: skipWithoutHosts || (missing !== undefined && `no images of the application here: ${missing}`) },
  async (t) => {
    const cluster = await Cluster.up(t, 3);
    const host = cluster.hosts.host(1);
    const { application, database } = votingArchives();
    await Promise.all([...cluster.hosts].map((each) => each.loadImages(application)));
    await host.loadImages(database);
    const voting = new Voting(t, cluster);

    const ours = await life(t, voting, {
      deploy: (file, ...args) => host.swarmctl('stack', 'deploy', '--timeout', '60s', '-c', file, ...args, 'voting'),
      rollback: (service) => host.swarmctl('service', 'update', '--rollback', service),
      remove: () => host.swarmctl('stack', 'rm', 'voting'),
    });
    const theirs = await life(t, voting, {
      deploy: (file, ...args) => host.docker('stack', 'deploy', '--detach=true', '-c', file, ...args, 'voting'),
      rollback: (service) => host.docker('service', 'rollback', '--detach', service),
      remove: async () => {
        const removed = await host.docker('stack', 'rm', 'voting');
        await until('all of the stack to go', async () => {
          const { networks, services } = await voting.objects();
          return networks.length + services.length + (await cluster.manager.tasks()).length === 0;
        });
        return removed;
      },
    });
    t.same(theirs, ours);
  },
);
