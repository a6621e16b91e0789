import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RaftClient } from '@apiary/api/rpc';
import { managerCredentials, type NodeIdentity, readCredentials } from '@apiary/worker/io';
import type { ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, type PlacedContainer, serviceSpec, skipWithoutHosts } from './cluster.js';

t.setTimeout(240_000);

/** What tells a container that was left alone from one that was stopped and started, or replaced. */
async function lives(containers: PlacedContainer[]): Promise<string[]> {
  const format = '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}';
  const inspect = async ({ host, Id }: PlacedContainer) =>
    (await host.engineDocker('inspect', '--format', format, Id)).stdout.trim();
  return (await Promise.all(containers.map(inspect))).sort();
}

t.test('a cluster with services running', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 4, { managers: 3 });
  await cluster.managersAre(1, 2, 3);
  const [first, second, third] = [cluster.hosts.host(1), cluster.hosts.host(2), cluster.hosts.host(3)];
  const worker = cluster.hosts.host(4);
  const backup = join(first.directory, 'swarm.backup');
  const passphrase = join(first.directory, 'passphrase');
  writeFileSync(passphrase, 'of the test\n');
  const withPassphrase = ['--passphrase-file', passphrase];
  await cluster.create('steady', { replicas: 8 });
  const before = await lives(await cluster.settled('steady', 8));
  const on = (containers: PlacedContainer[], name: string) => containers.filter(({ host }) => host.name === name);

  t.test('a manager of another cluster is a stranger to its managers', async (t) => {
    const other = await Cluster.hosts(t, 1);
    await other.form();
    const dataRoot = join(other.hosts.host(1).directory, 'swarmd');
    const [foreign, own] = [await identityIn(dataRoot), await identityIn(join(first.directory, 'swarmd'))];
    // Its certificate, and for once the root of those it speaks to: theirs is the refusal.
    const refusal = await callRaft(`${first.address}:2377`, { ...foreign, rootPem: own.rootPem });
    t.match(refusal, { details: /certificate/i });
    t.match(await callRaft(`${first.address}:2377`, await identityIn(join(worker.directory, 'swarmd'))), {
      details: /manager/,
    });
    await cluster.managersAre(1, 2, 3);
  });

  t.test('is backed up while it is written to', async (t) => {
    const writing = Array.from({ length: 30 }, (_, i) =>
      cluster.client(1 + (i % 3)).createService(serviceSpec(`during-${i}`, { replicas: 0 })),
    );
    const said = await first.mustSwarmctl('backup', ...withPassphrase, '-o', backup);
    t.match(said, /Swarm backed up to .*swarm\.backup/);
    await Promise.all(writing);
    t.match(await first.swarmctl('backup', ...withPassphrase, '-o', backup), { code: 1, stderr: /is there already/ });
    for (const i of writing.keys()) await cluster.manager.removeService(`during-${i}`);
  });

  t.test('goes on from one of its managers when the others are lost for good', async (t) => {
    await cluster.create('later', { replicas: 0 });
    await Promise.all([second.powerOff(), third.powerOff()]);
    await t.rejects(cluster.manager.services(), { code: 'unavailable' });
    await first.mustSwarmctl('init', '--force-new-cluster', '--advertise-addr', first.address);
    t.equal(await cluster.managersAre(1), 1);
    t.ok(await cluster.manager.service('later'), 'what was written last is there');
    const nodes = await cluster.manager.nodes();
    t.equal(nodes.length, 4);
    await cluster.nodeIs(4, 'ready');
    for (const number of [2, 3]) await cluster.nodeIs(number, 'down');
    const after = await until('the tasks of the lost to run elsewhere', async () => {
      const running = (await cluster.tasks('steady')).filter(
        ({ DesiredState, Status }) => DesiredState === 'running' && Status.State === 'running',
      );
      return running.length === 8 && cluster.containers('steady', [first, worker]);
    });
    const kept = await lives(after.filter(({ State }) => State === 'running'));
    const untouched = before.filter((life) => kept.includes(life));
    t.equal(untouched.length, 4, 'the containers of those that live were left alone');
  });

  t.test('takes managers again after that, and those that were lost as new ones', async () => {
    for (const host of [second, third]) {
      await host.powerOn();
      await host.startEngine();
      rmSync(join(host.directory, 'swarmd'), { recursive: true });
      await host.startSwarmd();
      const stale = (await cluster.manager.nodes()).find(({ Description }) => Description.Hostname === host.name);
      if (stale !== undefined) await cluster.manager.removeNode(stale.ID, true);
      await cluster.join(host.number, 'Manager');
    }
    await cluster.managersAre(1, 2, 3);
    await cluster.settled('steady', 8);
  });

  t.test('is restored from a backup with none of its containers restarted', async (t) => {
    rmSync(backup);
    const placed = await cluster.settled('steady', 8);
    await first.mustSwarmctl('backup', ...withPassphrase, '-o', backup);
    await cluster.create('forgotten', { replicas: 0 });
    const wrong = join(first.directory, 'wrong');
    // All managers lose their disks; what runs on them runs on.
    for (const host of [first, second, third]) {
      await host.killSwarmd();
      rmSync(join(host.directory, 'swarmd'), { recursive: true });
    }
    const [, ...args] = first.swarmdCommand();
    const dataRoot = args[args.indexOf('--data-root') + 1] ?? '';
    t.notOk(readFileSync(backup).includes('steady'));
    writeFileSync(wrong, 'of another');
    const refused = await first.swarmctl('restore', backup, '--data-root', dataRoot, '--passphrase-file', wrong);
    t.match(refused, { code: 1, stderr: /does not open with this passphrase/ });
    const restored = await first.swarmctl('restore', backup, '--data-root', dataRoot, ...withPassphrase);
    t.equal(restored.code, 0, restored.stderr);
    const again = await first.swarmctl('restore', backup, '--data-root', dataRoot, ...withPassphrase);
    t.not(again.code, 0, 'a data root that is in use is not overwritten');
    t.ok(existsSync(dataRoot));
    await first.startSwarmd();
    t.equal(await cluster.managersAre(1), 1);
    t.notOk((await cluster.manager.services()).some(({ Spec }) => Spec.Name === 'forgotten'));
    await cluster.nodeIs(1, 'ready');
    await cluster.nodeIs(4, 'ready');
    const left = await cluster.containers('steady', [first, worker]);
    const expected = await lives([...on(placed, 'h1'), ...on(placed, 'h4')]);
    const now = await lives(left.filter(({ State }) => State === 'running'));
    t.same(
      expected.filter((life) => !now.includes(life)),
      [],
      'those of the nodes that are there run on',
    );
  });
});

async function identityIn(dataRoot: string): Promise<NodeIdentity> {
  const identity = await readCredentials(dataRoot);
  if (identity === undefined) throw new Error(`no certificate in ${dataRoot}`);
  return identity;
}

/** Opens a stream of Raft's messages. @returns how it was refused */
async function callRaft(addr: string, identity: NodeIdentity): Promise<ServiceError> {
  const { credentials, options } = managerCredentials(identity);
  const client = new RaftClient(addr, credentials, options);
  try {
    return await new Promise<ServiceError>((resolve, reject) => {
      const call = client.messages((error) => (error === null ? reject(new Error('it was let in')) : resolve(error)));
      call.on('error', () => undefined);
    });
  } finally {
    client.close();
  }
}
