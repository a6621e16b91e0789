import { createWriteStream, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeBackup } from '@apiary/manager/io';
import { SystemClock } from '@apiary/std/io';
import { readCredentials } from '@apiary/worker/io';
import t, { type Test } from 'tap';
import { lockDataRoot } from './data-root-lock.js';
import { readNodeFile } from './node-file.js';
import { type RestoreRequest, restoreNode } from './restored-node.js';
import { type TestHost, testHost, until } from './testing/nodes.js';

async function label(host: TestHost, value: string): Promise<void> {
  await host.node.replica().submit((view) => {
    const cluster = view.cluster();
    if (cluster === undefined) throw new Error('no cluster');
    const spec = { ...cluster.spec, Labels: { value } };
    return { guards: [], changes: [{ type: 'cluster-spec', spec }], result: undefined };
  });
}

const labelOf = ({ node }: TestHost) => node.replica().view.cluster()?.spec.Labels?.['value'];

/** A cluster of one that wrote a backup, and something after it. */
async function backedUp(t: Test) {
  const host = await testHost(t);
  const nodeId = await host.node.init(host.addresses);
  await until('its agent is heard of', () => host.node.replica().view.node(nodeId)?.description !== undefined);
  await label(host, 'in the backup');
  const path = join(t.testdir({}), 'swarm.backup');
  await writeBackup(host.node.replica(), { nodeId, takenAtMs: Date.now() }, createWriteStream(path));
  await label(host, 'after the backup');
  const restore = (dataRoot: string, more: Partial<RestoreRequest> = {}) =>
    restoreNode({ path, dataRoot, force: false, clock: new SystemClock(), ...more });
  return { host, nodeId, path, restore };
}

t.test('on an empty data root, a node is the manager that made the backup again, with what was in it', async (t) => {
  const { host, nodeId, restore } = await backedUp(t);
  const clusterId = host.node.replica().view.cluster()?.id;
  await host.stop();
  const other = await testHost(t);
  const [, port] = other.addr.split(':');
  const restored = await restore(other.dataRoot, { advertiseAddr: '127.0.0.1', listenAddr: other.addr });
  t.match(restored, { nodeId, clusterId, hostname: 'h1', managerAddr: other.addr, keptDirectory: undefined });
  await other.start();
  t.match(other.node.status(), { nodeId, state: 'active', controlAvailable: true });
  t.equal(labelOf(other), 'in the backup');
  t.same(other.node.replica().members, { voters: [nodeId], learners: [] });
  await until('its agent has a session', () => other.node.replica().view.node(nodeId)?.status.state === 'ready');
  await label(other, 'goes on');
  t.match(await readNodeFile(other.dataRoot), { role: 'manager', advertisePort: Number(port) });
  await other.stop();
  await other.start();
  t.equal(labelOf(other), 'goes on');
});

t.test('on its own data root, a manager goes back to the backup by force only', async (t) => {
  const { host, nodeId, restore } = await backedUp(t);
  await host.stop();
  const before = readdirSync(host.dataRoot).sort();
  await t.rejects(restore(host.dataRoot), {
    code: 'failed-precondition',
    message: /same cluster already: use --force/,
  });
  await t.rejects(restore(host.dataRoot, { force: true, node: 'another' }), { message: /cannot become node another/ });
  t.same(
    readdirSync(host.dataRoot).filter((name) => name !== 'lock'),
    before,
  );
  const { keptDirectory, managerAddr } = await restore(host.dataRoot, { force: true });
  t.equal(managerAddr, host.addr, 'it is where it was');
  t.ok(keptDirectory !== undefined && existsSync(join(keptDirectory, 'wal')));
  await host.start();
  t.equal(host.node.status().nodeId, nodeId);
  t.equal(labelOf(host), 'in the backup');
});

t.test('nothing is touched when it cannot be done, and why is said', async (t) => {
  const { host, path, restore } = await backedUp(t);
  await host.stop();
  const root = join(dirname(path), 'root');
  const empty = async (more: Partial<RestoreRequest>, message: RegExp) => {
    await t.rejects(restore(root, more), { message });
    const left = existsSync(root) ? readdirSync(root).filter((name) => name !== 'lock') : [];
    t.same(left, []);
  };
  await empty({ node: 'nobody' }, /has no node nobody: choose one with --node among .* \(h1\)/);
  await empty({ advertiseAddr: '0.0.0.0' }, /advertise address must be/);
  await empty({ path: `${path}.none` }, /cannot read the backup .*\.none/);
  const whole = readFileSync(path);
  writeFileSync(`${path}.cut`, whole.subarray(0, whole.length / 2));
  await empty({ path: `${path}.cut` }, /is cut short, or damaged/);
  await empty({ path: fileURLToPath(import.meta.url) }, /is no backup of a swarm/);
  const unlock = await lockDataRoot(host.dataRoot);
  await t.rejects(restore(host.dataRoot, { force: true }), { message: /in use by another swarmd/ });
  await unlock();
  const stranger = await testHost(t);
  await stranger.node.init(stranger.addresses);
  await stranger.stop();
  const identity = await readCredentials(stranger.dataRoot);
  await t.rejects(restore(stranger.dataRoot, { force: true }), {
    message: /of cluster .*, and the backup of cluster /,
  });
  t.same(await readCredentials(stranger.dataRoot), identity);
});
