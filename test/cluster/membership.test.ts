import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Node } from '@apiary/api/model';
import t from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, serviceSpec, skipWithoutHosts } from './cluster.js';
import { WriteLoad } from './write-load.js';

t.setTimeout(240_000);

t.test('who manages', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.hosts(t, 4);
  const managing = new Set([1, 2, 3]);
  await cluster.form({ managers: 3 });
  const load = new WriteLoad(cluster, () => [...managing], 3);
  await cluster.managersAre(1, 2, 3);
  t.teardown(() => load.stop());
  await load.start();
  const fourth = cluster.hosts.host(4);
  const nodesNamed = async (hostname: string): Promise<Node[]> =>
    (await cluster.manager.nodes()).filter(({ Description }) => Description.Hostname === hostname);
  /** Takes all nodes of that name out: managers are demoted first. */
  const removeManagers = async (hostname: string) => {
    await until(`${hostname || 'nodes without a name'} to be removed`, async () => {
      const [node] = await nodesNamed(hostname);
      if (node === undefined) return true;
      const { ID, ManagerStatus, Spec, Version } = node;
      if (Spec.Role === 'manager') await cluster.manager.updateNode(ID, Version.Index, { ...Spec, Role: 'worker' });
      if (ManagerStatus === undefined) await cluster.manager.removeNode(ID, true);
      return false;
    });
  };
  const account = async (numbers: number[]) => {
    await load.goesOn();
    await load.stop();
    for (const number of numbers) t.same(await load.problems(number), [], `seen through h${number}`);
    load.resume();
  };

  t.test('is who was promoted: a worker becomes a manager without its containers noticing, and back', async (t) => {
    t.teardown(() => cluster.remove('steady'));
    await cluster.create('steady', { replicas: 4 });
    const before = (await cluster.settled('steady', 4)).map(({ Id }) => Id);
    t.match(await cluster.hosts.host(2).mustSwarmctl('node', 'promote', 'h4'), /Node h4 promoted to a manager/);
    await cluster.managersAre(1, 2, 3, 4);
    t.equal((await cluster.client(4).service('steady')).Spec.Name, 'steady');
    t.match(await fourth.mustSwarmctl('node', 'demote', 'h4'), /Manager h4 demoted/);
    await cluster.managersAre(1, 2, 3);
    await until('h4 to be a worker', async () => !(await cluster.client(4).info()).Swarm.ControlAvailable);
    await until('its log to be removed', () => !existsSync(join(fourth.directory, 'swarmd', 'raft')));
    await t.rejects(cluster.client(4).services(), { status: 503, message: /not a swarm manager/ });
    await cluster.nodeIs(4, 'ready');
    t.same(
      (await cluster.settled('steady', 4)).map(({ Id }) => Id),
      before,
      'no container was touched',
    );
    await account([1, 2, 3]);
  });

  t.test('is what was said last, however quickly it is said', async () => {
    for (const last of ['manager', 'worker'] as const) {
      const roles = ['manager', 'worker', 'manager', 'worker', 'manager', 'worker', 'manager'] as const;
      for (const Role of last === 'manager' ? roles : [...roles, 'worker' as const]) {
        cluster.ask(1 + ([...roles].indexOf(Role) % 3));
        // The node's record changes under our hands: each step is said for the version that it is then.
        await until(`h4 to be asked to be ${Role}`, () => cluster.updateNode(4, { Role }).then(() => true));
      }
      await (last === 'manager' ? cluster.managersAre(1, 2, 3, 4) : cluster.managersAre(1, 2, 3));
      const isManager = async () => (await cluster.client(4).info()).Swarm.ControlAvailable === (last === 'manager');
      await until(`h4 itself to be ${last}`, isManager);
    }
    cluster.ask(1);
    await cluster.nodeIs(4, 'ready');
    await account([1, 2, 3]);
  });

  t.test('may be who leads: demoted, it hands over first, and nothing is lost', async (t) => {
    const leader = await cluster.managersAre(1, 2, 3);
    managing.delete(leader);
    const others = [...managing];
    await load.goesOn();
    load.takeLongestGapMs();
    cluster.ask(others[0] ?? 0);
    await cluster.updateNode(leader, { Role: 'worker' });
    const next = await cluster.managersAre(...others);
    t.not(next, leader);
    await load.goesOn();
    t.ok(load.takeLongestGapMs() < 3_000, 'no election had to be waited for');
    await cluster.updateNode(leader, { Role: 'manager' });
    await cluster.managersAre(1, 2, 3);
    managing.add(leader);
    await account([1, 2, 3]);
  });

  t.test('joins again after kill -9 at any moment of its join', async (t) => {
    cluster.ask(1);
    const isListed = (matches: (node: Node) => boolean) => async () => (await nodesNamed('h4')).some(matches);
    const enrolled = async () => (await cluster.manager.nodes()).length > 3;
    const moments: { when: string; holds: () => Promise<boolean> | boolean }[] = [
      { when: 'it has been sent', holds: () => true },
      { when: 'there is a record of it', holds: enrolled },
      { when: 'its certificate is on disk', holds: () => existsSync(join(fourth.directory, 'swarmd/certificates')) },
      { when: 'its log is there', holds: () => existsSync(join(fourth.directory, 'swarmd/raft/wal')) },
      { when: 'it is listed as a manager', holds: isListed(({ ManagerStatus }) => ManagerStatus !== undefined) },
    ];
    for (const { when, holds } of moments) {
      await fourth.mustSwarmctl('leave', '--force');
      await removeManagers('h4');
      const joining = cluster.join(4, 'Manager').catch(() => undefined);
      await until(when, holds, { intervalMs: 1, timeoutMs: 10_000 });
      await fourth.killSwarmd();
      await joining;
      await fourth.startSwarmd();
      const state = await until('h4 to know what it is', async () => {
        const { LocalNodeState } = (await cluster.client(4).info()).Swarm;
        return LocalNodeState !== 'pending' && LocalNodeState;
      });
      // A record that was made and never filled would go by itself in 10 minutes.
      if (state === 'inactive') {
        await removeManagers('');
        await cluster.join(4, 'Manager');
      }
      await cluster.managersAre(1, 2, 3, 4);
      t.pass(`killed once ${when}: ${state === 'inactive' ? 'joined again' : 'went on by itself'}`);
    }
    await removeManagers('h4');
    await fourth.mustSwarmctl('leave', '--force');
    await cluster.join(4);
    await account([1, 2, 3]);
  });

  t.test('is not removed at the price of the quorum, unless forced; leaving says what it costs', async (t) => {
    const leader = await cluster.managersAre(1, 2, 3);
    const [lost = 0, kept = 0] = [1, 2, 3].filter((number) => number !== leader);
    managing.delete(lost);
    await cluster.hosts.host(lost).killSwarmd();
    cluster.ask(leader);
    await until(
      'it to be missed',
      async () => (await cluster.node(lost)).ManagerStatus?.Reachability === 'unreachable',
    );
    await t.rejects(cluster.updateNode(kept, { Role: 'worker' }), { message: /quorum/ });
    const demoted = await cluster.hosts.host(leader).swarmctl('node', 'demote', `h${kept}`);
    t.not(demoted.code, 0);
    t.match(demoted.stderr, /quorum/);
    await t.rejects(cluster.manager.removeNode((await cluster.node(kept)).ID), {
      message: /is a cluster manager and is a member of the raft cluster.*demoted to worker before removal/,
    });
    const left = await cluster.hosts.host(kept).swarmctl('leave');
    t.not(left.code, 0);
    t.match(left.stderr, /participating as a manager.*quorum/s);
    await load.goesOn();
    // The one that is lost may go: what is left is a majority of itself.
    await cluster.updateNode(lost, { Role: 'worker' });
    await cluster.managersAre(...[leader, kept].sort());
    await cluster.manager.removeNode((await cluster.node(lost)).ID, true);
    await account([leader, kept]);

    t.comment(`back comes h${lost}, which is not told that it was removed until it asks`);
    await cluster.hosts.host(lost).startSwarmd();
    await until('it to see that it is no member', async () => {
      const { LocalNodeState, Error: why } = (await cluster.client(lost).info()).Swarm;
      return LocalNodeState === 'error' && why !== '';
    });
    await cluster.hosts.host(lost).mustSwarmctl('leave', '--force');
    await cluster.join(lost, 'Manager');
    await cluster.managersAre(1, 2, 3);
    managing.add(lost);
    await account([1, 2, 3]);
  });

  t.test('leaves with --force: the others are told', async () => {
    const leader = await cluster.managersAre(1, 2, 3);
    const others = [1, 2, 3].filter((number) => number !== leader);
    managing.delete(leader);
    cluster.ask(others[0] ?? 0);
    await cluster.hosts.host(leader).mustSwarmctl('leave', '--force');
    await load.goesOn();
    await until('it to be down', async () => (await cluster.node(leader)).Status.State === 'down');
    await until('it to be no manager', async () => {
      const node = await cluster.node(leader);
      if (node.ManagerStatus !== undefined) await cluster.updateNode(leader, { Role: 'worker' });
      return node.ManagerStatus === undefined;
    });
    await cluster.manager.removeNode((await cluster.node(leader)).ID, true);
    await cluster.managersAre(...others);
    await cluster.manager.createService(serviceSpec('after', { replicas: 0 }));
    await account(others);
  });
});
