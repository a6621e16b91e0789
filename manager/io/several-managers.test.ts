import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { newId } from '@apiary/std';
import { SystemClock, SystemRng } from '@apiary/std/io';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { createService, updateNode } from '../core/requests/index.js';
import { type Manager, type ManagerOptions, startManager } from './manager.js';
import type { Replica } from './ports.js';
import { issue, TestAgent } from './rpc/test-cluster.js';
import { createRootCa, issueCertificate, rootDigestOfPem } from './trust/index.js';

t.setTimeout(120_000);

const clock = new SystemClock();
const rng = new SystemRng();
const logger = pino({ level: process.env['LOG_LEVEL'] ?? 'silent' });
const DAY_MS = 24 * 3600 * 1000;

/** A manager of the cluster, with its disk and its door: what stays when it is stopped. */
interface Member {
  id: string;
  addr: string;
  directory: string;
  identity: ManagerOptions['identity'];
  manager: Manager;
}

/** Managers on loopback, with real certificates and disks. */
class Cluster {
  readonly members: Member[] = [];
  readonly rootCa = createRootCa(Date.now());
  readonly clusterId = newId(rng);
  readonly #t: Test;
  #folder = '';

  constructor(t: Test) {
    this.#t = t;
  }

  static async of(t: Test, count: number): Promise<Cluster> {
    const cluster = new Cluster(t);
    cluster.#folder = await mkdtemp(join(tmpdir(), 'apiary-managers-'));
    t.teardown(async () => {
      await Promise.all(cluster.members.map(({ manager }) => manager.close()));
      await rm(cluster.#folder, { recursive: true });
    });
    await cluster.#init();
    while (cluster.members.length < count) await cluster.join();
    return cluster;
  }

  get voters(): readonly string[] {
    return this.leader.manager.replica.members.voters;
  }

  get leader(): Member {
    const leader = this.members.find(({ manager }) => manager.replica.leadership.role === 'leader');
    if (leader === undefined) throw new Error('nobody leads');
    return leader;
  }

  get followers(): Member[] {
    return this.members.filter(({ manager }) => manager.replica.leadership.role !== 'leader');
  }

  async #init(): Promise<void> {
    const id = newId(rng);
    const addr = await freeAddr();
    const { keyPem, csrPem } = createKeyAndCsr();
    const order = { rootCa: this.rootCa, csrPem, nodeId: id, clusterId: this.clusterId, role: 'manager' as const };
    const identity = this.#identityOf(
      id,
      issueCertificate({ ...order, validityMs: DAY_MS, nowMs: Date.now() }),
      keyPem,
    );
    const create = {
      clusterId: this.clusterId,
      nodeId: id,
      rootCa: this.rootCa,
      availability: 'active' as const,
      addr: '127.0.0.1',
      managerAddr: addr,
    };
    await this.#start(id, addr, identity, { start: 'bootstrap', create });
  }

  /** With the token, as `swarmctl join` does; resolves once the newcomer sees itself as a voter. */
  async join(): Promise<Member> {
    const [first] = this.members;
    if (first === undefined) throw new Error('no cluster');
    const cluster = first.manager.replica.view.cluster();
    const rootPem = this.rootCa.certificatePem;
    const secret = cluster?.joinSecrets.manager ?? '';
    const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootPem), secret });
    const { keyPem, csrPem } = createKeyAndCsr();
    const addr = await freeAddr();
    const asked = this.members.at(-1) ?? first;
    const { nodeId, certificateChainPem, role } = await issue(
      this.#t,
      asked,
      { rootPem },
      { csrPem, joinToken, managerAddr: addr },
    );
    this.#t.equal(role, 'manager');
    const member = await this.#start(nodeId, addr, this.#identityOf(nodeId, certificateChainPem, keyPem), {
      start: 'join',
    });
    await seesVoter(member.manager.replica, nodeId);
    return member;
  }

  /** Starts the manager of a node that was promoted, with a new certificate and nothing on its disk. */
  async startAgain({ id, addr, identity }: Member): Promise<Member> {
    const { keyPem, csrPem } = createKeyAndCsr();
    const asked = this.leader;
    const { certificateChainPem, role } = await issue(this.#t, asked, identity, { csrPem });
    this.#t.equal(role, 'manager');
    return this.#start(id, addr, this.#identityOf(id, certificateChainPem, keyPem), { start: 'join' });
  }

  async stop(member: Member): Promise<void> {
    this.members.splice(this.members.indexOf(member), 1);
    await member.manager.close();
  }

  async resume({ id, addr, identity, directory }: Member): Promise<Member> {
    return this.#start(id, addr, identity, { start: 'resume', directory });
  }

  #identityOf(nodeId: string, certificateChainPem: string, keyPem: string): ManagerOptions['identity'] {
    return { nodeId, clusterId: this.clusterId, certificateChainPem, keyPem, rootPem: this.rootCa.certificatePem };
  }

  async #start(
    id: string,
    addr: string,
    identity: ManagerOptions['identity'],
    options: Pick<ManagerOptions, 'start'> & Partial<ManagerOptions>,
  ): Promise<Member> {
    const directory = join(this.#folder, newId(rng));
    const manager = await startManager({
      directory,
      identity,
      listenAddr: addr,
      managerAddr: addr,
      clock,
      rng,
      logger: logger.child({ manager: id.slice(0, 4) }),
      onFatal: (error) => this.#t.fail('fatal', { error }),
      ...options,
    });
    const member = { id, addr, directory: options.directory ?? directory, identity, manager };
    this.members.push(member);
    return member;
  }
}

/** An address of loopback on which nobody listens. */
async function freeAddr(): Promise<string> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === 'object' ? `127.0.0.1:${address?.port}` : '';
}

/** Resolves when `holds`, which is looked at after every entry, and every change of leader or membership. */
function until(replica: Replica, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (!holds()) return;
      for (const stop of stops) stop();
      resolve();
    };
    const stops = [replica.subscribe(check), replica.onMembers(check), replica.onLeadership(check)];
    check();
  });
}

function seesVoter(replica: Replica, id: string): Promise<void> {
  return until(replica, () => replica.members.voters.includes(id) && replica.view.node(id)?.role === 'manager');
}

function isWorker(replica: Replica, id: string): Promise<void> {
  return until(replica, () => replica.view.node(id)?.role === 'worker');
}

const spec = (name: string) => ({
  Name: name,
  TaskTemplate: { ContainerSpec: { Image: 'busybox:test' } },
  Mode: { Replicated: { Replicas: 0 } },
});

function create({ manager }: Member, name: string): Promise<string> {
  return manager.replica.submit((view, { rng }) => createService(view, spec(name), rng));
}

function setRole({ manager }: Member, id: string, Role: 'worker' | 'manager'): Promise<string> {
  return manager.replica.submit((view) => {
    const node = view.node(id);
    const version = node?.meta.version ?? 0;
    return updateNode(view, { id, version, spec: { ...node?.spec, Role, Availability: 'active' } });
  });
}

/** A worker's node, and its identity. */
async function joinWorker(t: Test, cluster: Cluster, asked: Member) {
  const rootPem = cluster.rootCa.certificatePem;
  const secret = asked.manager.replica.view.cluster()?.joinSecrets.worker ?? '';
  const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootPem), secret });
  const { keyPem, csrPem } = createKeyAndCsr();
  const { nodeId, certificateChainPem } = await issue(t, asked, { rootPem }, { csrPem, joinToken });
  return { nodeId, identity: { rootPem, keyPem, certificateChainPem } };
}

t.test('managers join one after another; what is written on any is seen on every other at once', async (t) => {
  const cluster = await Cluster.of(t, 3);
  t.same([...cluster.voters], cluster.members.map(({ id }) => id).sort());
  for (const [i, member] of cluster.members.entries()) {
    const id = await create(member, `web${i}`);
    for (const { manager } of cluster.members) {
      await manager.replica.barrier();
      t.equal(manager.replica.view.service(id)?.spec.Name, `web${i}`);
    }
    await t.rejects(create(member, 'web0'), { code: 'already-exists' });
  }
  const { view } = cluster.leader.manager.replica;
  t.same(
    view.nodes().map(({ role, reachability }) => [role, reachability]),
    [0, 1, 2].map(() => ['manager', 'reachable']),
  );
});

t.test('a hundred writes at once on three managers all happen, once', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const names = Array.from({ length: 99 }, (_, i) => `s${i}`);
  await Promise.all(
    names.map((name, i) => {
      const member = cluster.members[i % 3];
      return member && create(member, name);
    }),
  );
  for (const { manager } of cluster.members) {
    await manager.replica.barrier();
    t.same(
      manager.replica.view
        .services()
        .map((service) => service.spec.Name)
        .sort(),
      [...names].sort(),
    );
  }
});

t.test('when the leader stops, another leads, agents are served there, and it comes back as a follower', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const { leader, followers } = cluster;
  const [follower] = followers;
  if (follower === undefined) throw new Error('no follower');
  const { nodeId, identity } = await joinWorker(t, cluster, follower);

  const stray = new TestAgent(t, follower, identity);
  t.match(await stray.ended, { code: 'unavailable', leaderAddr: leader.addr });
  const agent = new TestAgent(t, leader, identity);
  agent.hello();
  const welcome = await agent.take('welcome');
  t.same(welcome.value.update?.managers.map(({ addr }) => addr).sort(), cluster.members.map(({ addr }) => addr).sort());

  const stoppedMs = performance.now();
  await cluster.stop(leader);
  t.match(await agent.ended, { code: 'unavailable' });
  // Asked before there is another leader, it keeps the agent until there is, or has it ask again after a while.
  for (let asked = follower; ; ) {
    const moved = new TestAgent(t, asked, identity);
    moved.hello();
    const heard = await Promise.race([moved.ended, moved.take('welcome')]);
    if (!('leaderAddr' in heard)) break;
    t.match(heard, { code: 'unavailable', leaderAddr: '' });
    asked = cluster.members.find(({ addr }) => addr === heard.leaderAddr) ?? follower;
  }
  const movedMs = performance.now() - stoppedMs;
  t.ok(movedMs < 5_000, `served again after ${Math.round(movedMs)} ms`);
  await create(follower, 'after');
  t.equal(cluster.leader.manager.replica.view.node(nodeId)?.status.state, 'ready', 'its node was never down');

  const back = await cluster.resume(leader);
  await back.manager.replica.barrier();
  t.equal(back.manager.replica.leadership.role, 'follower');
  t.ok(back.manager.replica.view.serviceByName('after'));
});

t.test('a manager is demoted and promoted, the leader too, from any other', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const { leader, followers } = cluster;
  const [one, two] = followers;
  if (one === undefined || two === undefined) throw new Error('two followers were expected');
  await setRole(one, one.id, 'worker');
  await isWorker(leader.manager.replica, one.id);
  t.notOk(cluster.voters.includes(one.id), 'by the same entry');
  await cluster.stop(one);
  // As its agent does when it has heard that it is a worker.
  const status = { state: 'ready' as const, message: '', addr: '' };
  const heard = { guards: [], changes: [{ type: 'node-status' as const, id: one.id, status }], result: undefined };
  await leader.manager.replica.submit(() => heard);
  await setRole(two, one.id, 'manager');
  const again = await cluster.startAgain(one);
  await seesVoter(again.manager.replica, one.id);

  await setRole(again, leader.id, 'worker');
  await isWorker(two.manager.replica, leader.id);
  t.not(cluster.leader.id, leader.id);
  t.notOk(two.manager.replica.members.voters.includes(leader.id));
  await cluster.stop(leader);
  await create(two, 'after');
  t.same([...cluster.voters], [one.id, two.id].sort());
});

t.test('without a majority nothing is written or read, and all goes on once it is back', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const [last, ...others] = cluster.members;
  if (last === undefined) throw new Error('no manager');
  const id = await create(last, 'before');
  for (const other of others) await cluster.stop(other);
  const { replica } = last.manager;
  await until(replica, () => replica.leadership.role === 'follower' && replica.leadership.leaderId === undefined);
  const words = { code: 'unavailable', message: /^The swarm does not have a leader\./ };
  await Promise.all([t.rejects(create(last, 'lost'), words), t.rejects(replica.barrier(), words)]);
  t.ok(replica.view.service(id), 'what is known can still be looked at');
  await Promise.all(others.map((other) => cluster.resume(other)));
  await create(last, 'after');
  for (const { manager } of cluster.members) {
    await manager.replica.barrier();
    t.ok(manager.replica.view.serviceByName('after'));
  }
});
