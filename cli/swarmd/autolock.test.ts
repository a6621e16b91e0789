import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { updateCluster } from '@apiary/manager/core';
import { ApiaryError } from '@apiary/std';
import t from 'tap';
import { readNodeFile } from './node-file.js';
import { type Containers, engineWith, joinRequest, setRole, type TestHost, testHost, until } from './testing/nodes.js';

t.setTimeout(180_000);

const newRoot = () => {
  throw new Error('nobody asked for another root');
};

/** What `swarmctl update --autolock` and `unlock-key --rotate` do. */
function setAutolock({ node }: TestHost, isOn: boolean, rotateUnlockKey = false): Promise<string> {
  return node.replica().submit((view, { rng }) => {
    const cluster = view.cluster();
    if (cluster === undefined) throw new Error('no cluster');
    const spec = { ...cluster.spec, EncryptionConfig: { AutoLockManagers: isOn } };
    const rotate = { rotateWorkerToken: false, rotateManagerToken: false, rotateUnlockKey, newRoot };
    return updateCluster(view, { version: cluster.meta.version, spec, ...rotate }, rng);
  });
}

function unlockKeyOf({ node }: TestHost): string {
  return node.replica().view.cluster()?.unlockKey ?? '';
}

function textsOf({ dataRoot }: TestHost): { pem: string; keys: string } {
  return {
    pem: readFileSync(join(dataRoot, 'certificates', 'node.pem'), 'utf8'),
    keys: readFileSync(join(dataRoot, 'raft', 'keys.json'), 'utf8'),
  };
}

function isSealed(host: TestHost): boolean {
  const { pem, keys } = textsOf(host);
  return pem.includes('BEGIN SEALED PRIVATE KEY') && !pem.includes('BEGIN PRIVATE KEY') && 'sealed' in JSON.parse(keys);
}

function isClear(host: TestHost): boolean {
  const { pem, keys } = textsOf(host);
  const hasLock = existsSync(join(host.dataRoot, 'lock.json'));
  return !hasLock && pem.includes('BEGIN PRIVATE KEY') && 'keys' in JSON.parse(keys);
}

const LOCKED = { code: 'unavailable', message: /needs to be unlocked before it can be used/ };

t.test('a manager that was stopped is locked until it gets the key, and starts nothing before', async (t) => {
  const host = await testHost(t);
  await host.node.init({ ...host.addresses, Spec: { EncryptionConfig: { AutoLockManagers: true } } });
  const key = unlockKeyOf(host);
  await until('sealed', () => isSealed(host));
  for (const text of Object.values(textsOf(host))) t.notOk(text.includes(key.slice(9)), 'the key is not beside it');
  await t.rejects(host.node.unlock(key), { message: 'swarm is not locked' });
  const node = await host.start();
  t.match(node.status(), { state: 'locked', controlAvailable: false, nodeId: /./ });
  t.throws(() => node.replica(), LOCKED);
  await t.rejects(node.init(host.addresses), /already part of a swarm/);
  const wrong = { code: 'invalid-argument', message: 'swarm could not be unlocked: invalid key provided' };
  await t.rejects(node.unlock('nonsense'), { code: 'invalid-argument', message: 'invalid key string' });
  await t.rejects(node.unlock(`SWMKEY-1-${'A'.repeat(43)}`), wrong);
  t.equal(node.status().state, 'locked');
  await node.unlock(key);
  await until('a leader', () => node.replica().leadership.role === 'leader');
  t.equal(unlockKeyOf(host), key);
  t.match(node.status(), { state: 'active', controlAvailable: true });
});

t.test('the lock follows the state of the cluster, on every manager', async (t) => {
  const first = await testHost(t);
  await first.node.init(first.addresses);
  const second = await testHost(t);
  await second.node.join(joinRequest(second, first, 'manager'));
  t.ok(isClear(first));
  await setAutolock(first, true);
  for (const host of [first, second]) await until('sealed', () => isSealed(host));
  const before = unlockKeyOf(first);
  const lockBefore = readFileSync(join(second.dataRoot, 'lock.json'), 'utf8');
  await setAutolock(first, true, true);
  const after = unlockKeyOf(first);
  await until('another lock', () => readFileSync(join(second.dataRoot, 'lock.json'), 'utf8') !== lockBefore);
  const node = await second.start();
  await t.rejects(node.unlock(before), /invalid key provided/);
  await node.unlock(after);
  await node.replica().barrier();
  await setAutolock(second, false);
  for (const host of [first, second]) await until('in clear', () => isClear(host));
  t.match((await second.start()).status(), { state: 'active', controlAvailable: true });
});

t.test('what a stop left in clear is sealed at the next start, and a worker is never locked', async (t) => {
  const first = await testHost(t);
  await first.node.init({ ...first.addresses, Spec: { EncryptionConfig: { AutoLockManagers: true } } });
  const second = await testHost(t);
  await second.node.join(joinRequest(second, first, 'manager'));
  await until('sealed', () => isSealed(second));
  await setAutolock(first, false);
  await until('in clear', () => isClear(second));
  const clear = textsOf(second);
  await setAutolock(first, true);
  await until('sealed', () => isSealed(second));
  await second.stop();
  writeFileSync(join(second.dataRoot, 'certificates', 'node.pem'), clear.pem);
  writeFileSync(join(second.dataRoot, 'raft', 'keys.json'), clear.keys);
  const node = await second.start();
  await node.unlock(unlockKeyOf(first));
  await until('sealed', () => isSealed(second));
  await setRole(first.node.replica(), node.status().nodeId, 'worker');
  await until('no lock', () => !existsSync(join(second.dataRoot, 'lock.json')));
  t.match(readFileSync(join(second.dataRoot, 'certificates', 'node.pem'), 'utf8'), /BEGIN PRIVATE KEY/);
  t.equal((await readNodeFile(second.dataRoot))?.role, 'worker');
  t.match((await second.start()).status(), { state: 'active', controlAvailable: false });
});

t.test('a locked manager leaves by force, and takes its containers with it', async (t) => {
  const containers: Containers = new Map();
  const host = await testHost(t, engineWith(containers));
  await host.node.init({ ...host.addresses, Spec: { EncryptionConfig: { AutoLockManagers: true } } });
  containers.set('c1', { nodeId: host.node.status().nodeId, state: 'running' });
  await until('sealed', () => isSealed(host));
  const node = await host.start();
  await t.rejects(node.leave(false), { code: 'failed-precondition', message: /encrypted and locked/ });
  t.equal(node.status().state, 'locked');
  await node.leave(true);
  t.equal(containers.size, 0);
  t.equal(node.status().state, 'inactive');
  t.same(readdirSync(host.dataRoot), []);
});

t.test('a lock that cannot be read is named', async (t) => {
  const host = await testHost(t);
  await host.node.init({ ...host.addresses, Spec: { EncryptionConfig: { AutoLockManagers: true } } });
  await until('sealed', () => isSealed(host));
  await host.stop();
  writeFileSync(join(host.dataRoot, 'lock.json'), '{}');
  const failed = await host.start().catch((error: unknown) => error);
  t.ok(failed instanceof ApiaryError && /lock\.json cannot be read/.test(failed.message), String(failed));
});
