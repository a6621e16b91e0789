import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';

import { createKeyAndCsr } from '@apiary/api/client';
import { MemberStorage, noPeers, ReplicatedLog } from '@apiary/raft/io';
import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { createService, initCluster } from '../../core/requests/index.js';
import type { Change, View } from '../../core/store/index.js';
import { createHttpApi } from '../http/index.js';
import { StoreReplica } from '../replica.js';
import { createRootCa, Issuer } from '../trust/index.js';
import {
  forceNewClusterAt,
  openBackup,
  type Passphrase,
  readBackup,
  restoreManager,
  sealedBackup,
  writeBackup,
} from './index.js';

const NOW_MS = 1_700_000_000_000;
const identity = { clusterId: 'c1', nodeId: 'm1' };
const rootCa = createRootCa(NOW_MS);

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'apiary-recovery-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** The manager's state and log, as it runs; time stands still. */
async function started(directory: string, start: 'bootstrap' | 'resume', nodeId = 'm1') {
  const clock = new VirtualClock(NOW_MS);
  const rng = new SeededRng(1);
  const log = new ReplicatedLog({
    directory,
    identity: { clusterId: 'c1', memberId: nodeId },
    start,
    transport: noPeers(),
    clock,
    rng,
    keys: {},
  });
  const onFatal = (error: unknown) => {
    throw error;
  };
  const replica = new StoreReplica({ log, clock, rng, onFatal });
  await replica.open();
  return { replica, log };
}

const manager = (id: string): Change => ({
  type: 'node-create',
  node: {
    id,
    spec: { Role: 'manager', Availability: 'active' },
    role: 'manager',
    status: { state: 'ready', message: '', addr: `10.0.0.${id.slice(1)}` },
    managerAddr: `10.0.0.${id.slice(1)}:2377`,
  },
});

/** A cluster of three managers and a worker, of which one manager runs here. */
async function running(directory: string) {
  const { replica, log } = await started(directory, 'bootstrap');
  const init = {
    clusterId: 'c1',
    nodeId: 'm1',
    rootCa,
    availability: 'active' as const,
    addr: '10.0.0.1',
    managerAddr: '10.0.0.1:2377',
  };
  await replica.submit((view, { rng }) => initCluster(view, init, rng));
  const status = { state: 'ready' as const, message: '', addr: '10.0.0.4' };
  const worker = { id: 'w4', spec: { Role: 'worker' as const }, role: 'worker' as const, status };
  await replica.submit(() => ({
    guards: [],
    changes: [manager('m2'), manager('m3'), { type: 'node-create', node: worker }],
    result: undefined,
  }));
  await create(replica, 'first');
  return { replica, log };
}

async function create(replica: StoreReplica, Name: string): Promise<void> {
  const spec = { Name, TaskTemplate: { ContainerSpec: { Image: 'nginx' } } };
  await replica.submit((view, { rng }) => createService(view, spec, rng));
}

const names = (view: View) => view.services().map(({ spec }) => spec.Name);
const roles = (view: View) => view.nodes().map(({ id, role, spec }) => `${id} ${role} ${spec.Role}`);

t.test('a backup is the state of its moment, whatever is written while it is read', async (t) => {
  const { replica, log } = await running(join(folder(t), 'raft'));
  const stream = await openBackup(replica, { nodeId: 'm1', takenAtMs: 5 });
  await create(replica, 'later');
  const path = join(folder(t), 'backup');
  const out = createWriteStream(path);
  for await (const chunk of stream) out.write(chunk);
  await new Promise<void>((resolve) => out.end(resolve));
  const backup = await readBackup(path);
  t.same(names(backup.store), ['first']);
  t.match(backup.header, {
    clusterId: 'c1',
    nodeId: 'm1',
    index: replica.view.appliedIndex - 1,
    term: 2,
    takenAtMs: 5,
  });
  t.same(backup.cluster, replica.view.cluster());
  await log.close();
});

t.test('the HTTP API gives a backup to whoever may ask a manager, and only whole', async (t) => {
  const { replica, log } = await running(join(folder(t), 'raft'));
  const socketPath = join(folder(t), 'api.sock');
  const status = { nodeAddr: '', state: 'active' as const, controlAvailable: true, error: '', remoteManagers: [] };
  let isManager = true;
  const api = await createHttpApi({
    clock: new VirtualClock(NOW_MS),
    node: {
      status: () => ({ ...status, nodeId: 'm1' }),
      replica: () => {
        if (isManager) return replica;
        throw new ApiaryError('not-manager', 'This node is not a swarm manager.');
      },
      issuer: () => new Issuer({ identity: () => undefined, clock: new VirtualClock() }),
      rotateLogKey: async () => '',
      unlock: async () => {},
      logs: () => ({ read: async function* () {} }),
      init: async () => '',
      join: async () => {},
      leave: async () => [],
    },
    engineSocketPath: '/nowhere',
    logger: { info: () => {}, error: () => {} },
    version: '0',
  });
  await api.listen({ socketPath });
  const get = () =>
    new Promise<{ status: number | undefined; type: string | undefined; body: Buffer }>((resolve, reject) => {
      http
        .get({ socketPath, path: '/v1.41/apiary/v1/backup' }, async (response) => {
          const body = Buffer.concat(await response.toArray());
          resolve({ status: response.statusCode, type: response.headers['content-type'], body });
        })
        .once('error', reject);
    });
  const { status: code, type, body } = await get();
  t.same([code, type], [200, 'application/octet-stream']);
  const path = join(folder(t), 'backup');
  writeFileSync(path, body);
  t.same(names((await readBackup(path)).store), ['first']);
  isManager = false;
  const refusal = await get();
  t.equal(refusal.status, 503);
  t.match(refusal.body.toString(), 'This node is not a swarm manager.');
  await api.close();
  await log.close();
});

t.test('a manager made from a backup leads the same cluster alone', async (t) => {
  const { replica, log } = await running(join(folder(t), 'raft'));
  const path = join(folder(t), 'backup');
  await writeBackup(replica, { nodeId: 'm1', takenAtMs: NOW_MS }, createWriteStream(path));
  await log.close();
  for (const nodeId of ['m1', 'm2', 'w4', 'new']) {
    const directory = join(folder(t), 'raft');
    const [addr, managerAddr] = ['10.9.9.9', '10.9.9.9:2377'];
    const backup = await readBackup(path);
    const { index, term } = backup.header;
    const certificates = await restoreManager(backup, {
      directory,
      nodeId,
      managerAddr,
      addr,
      csrPem: createKeyAndCsr().csrPem,
      clock: new VirtualClock(NOW_MS + 1000),
    });
    const certificate = new X509Certificate(certificates.certificateChainPem);
    t.ok(certificate.verify(new X509Certificate(rootCa.certificatePem).publicKey), 'signed by the same root');
    t.match(certificate.subject, new RegExp(`O=c1\\nOU=swarm-manager\\nCN=${nodeId}`));
    t.equal(certificates.rootPem, rootCa.certificatePem);
    const restored = await started(directory, 'resume', nodeId);
    const { view, members, leadership } = restored.replica;
    t.same(members, { voters: [nodeId], learners: [] });
    t.ok(leadership.term > term && view.appliedIndex > index);
    t.same(view.cluster()?.rootCa, rootCa);
    t.same(
      roles(view).filter((text) => text.includes('manager')),
      [`${nodeId} manager manager`],
    );
    t.match(view.node(nodeId), { managerAddr, status: { addr } });
    t.same(names(view), ['first']);
    t.ok(['m1', 'm2', 'm3'].every((id) => id === nodeId || id in (view.cluster()?.excluded ?? {})));
    await create(restored.replica, 'next');
    await restored.log.close();
  }
});

t.test('what is no sound backup of this version is refused, with what is wrong with it', async (t) => {
  const { replica, log } = await running(join(folder(t), 'raft'));
  const path = join(folder(t), 'backup');
  await writeBackup(replica, { nodeId: 'm1', takenAtMs: NOW_MS }, createWriteStream(path));
  await log.close();
  const sound = readFileSync(path);
  const refusalOf = async (bytes: Buffer, passphrase?: string): Promise<string> => {
    writeFileSync(path, bytes);
    try {
      await readBackup(path, passphrase);
    } catch (error) {
      assert.ok(error instanceof ApiaryError && error.code === 'failed-precondition', String(error));
      assert.ok(error.message.startsWith(path), error.message);
      return error.message.slice(path.length + 1);
    }
    return 'it was taken';
  };
  t.equal(await refusalOf(sound), 'it was taken');
  for (let length = 0; length < sound.length; length += 7) {
    const message = await refusalOf(sound.subarray(0, length));
    assert.match(
      message,
      length < 8 ? /is no backup of a swarm/ : /is cut short, or damaged: its \d+ bytes/,
      `${length}`,
    );
  }
  for (let at = 0; at < sound.length; at += at < 300 ? 1 : 13) {
    const damaged = Buffer.from(sound);
    damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
    assert.match(
      await refusalOf(damaged),
      at < 8 ? /is no backup of a swarm/ : /damaged: .*or use another one/,
      `byte ${at}`,
    );
  }
  t.match(await refusalOf(Buffer.concat([sound, Buffer.from('more')])), /cut short, or damaged/);
  t.match(await refusalOf(Buffer.from('PK a zip file')), /is no backup of a swarm: it does not begin with APIARYBK/);
  const withDigest = (bytes: Buffer) => Buffer.concat([bytes, createHash('sha256').update(bytes).digest()]);
  const newer = Buffer.from(sound.subarray(0, -32));
  newer.writeUInt32LE(3, 8);
  t.match(
    await refusalOf(withDigest(newer)),
    /is a backup of format version 3, and this program reads versions 1 and 2: use the one/,
  );
  const other = Buffer.from(
    sound.subarray(0, -32).toString('latin1').replace('"clusterId":"c1"', '"clusterId":"c2"'),
    'latin1',
  );
  t.match(await refusalOf(withDigest(other)), /it is not of one cluster/);
  const text = Buffer.from(sound.subarray(0, -32).toString('latin1').replace('{"format":', '{"faster":'), 'latin1');
  t.match(await refusalOf(withDigest(text)), /cannot be restored: the snapshot is damaged/);
  rmSync(path);
  await t.rejects(readBackup(path), { code: 'failed-precondition', message: /cannot read the backup .*ENOENT/ });
});

t.test('an encrypted backup opens with its passphrase alone, and as it was written', async (t) => {
  const { replica, log } = await running(join(folder(t), 'raft'));
  const sealed = async (passphrase: string, costLog2?: number) => {
    const clear = await openBackup(replica, { nodeId: 'm1', takenAtMs: NOW_MS });
    const options = costLog2 === undefined ? { passphrase } : { passphrase, costLog2 };
    return Buffer.concat(await Readable.from(sealedBackup(inBits(clear), options)).toArray());
  };
  const strong = await sealed('Ångström 1');
  const sound = await sealed('quick', 1);
  const other = await sealed('quick', 1);
  const path = join(folder(t), 'backup');
  const open = async (bytes: Buffer, passphrase?: Passphrase) => {
    writeFileSync(path, bytes);
    return readBackup(path, passphrase);
  };
  const backup = await open(strong, 'A\u030angstro\u0308m 1');
  t.same([names(backup.store), backup.cluster, backup.isSealed], [['first'], replica.view.cluster(), true]);
  t.same(backup.header, { ...backup.header, clusterId: 'c1', nodeId: 'm1', takenAtMs: NOW_MS });
  t.notOk([strong, sound].some((bytes) => /first|nginx|PRIVATE|BEGIN/.test(bytes.toString('latin1'))));
  await t.rejects(open(strong, 'Angstrom 1'), { message: /does not open with this passphrase/ });
  await t.rejects(open(sound), { message: /is encrypted: its passphrase is needed/ });
  t.ok(await open(sound, async () => 'quick'));
  let asked = 0;
  const ask = async () => {
    asked++;
    return 'quick';
  };
  for (let at = 0; at < sound.length; at += 37) {
    const damaged = Buffer.from(sound);
    damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
    await assert.rejects(open(damaged, ask), /damaged: |is no backup/, `byte ${at}`);
    await assert.rejects(open(sound.subarray(0, at), ask), /is cut short, or damaged|is no backup/, `${at} bytes`);
  }
  t.equal(asked, 0, 'nobody is asked for the passphrase of what is damaged anyway');
  const withDigest = (bytes: Buffer) => Buffer.concat([bytes, createHash('sha256').update(bytes).digest()]);
  for (let at = 8; at < sound.length - 32; at += at < 300 ? 3 : 67) {
    const forged = Buffer.from(sound.subarray(0, -32));
    forged[at] = (forged[at] ?? 0) ^ (1 << (at % 8));
    await assert.rejects(open(withDigest(forged), ask), ApiaryError, `byte ${at}`);
  }
  const [head, pieces, last] = parted(sound);
  const [, strange] = parted(other);
  const end = Buffer.alloc(4, 0xff);
  const made = (...parts: Buffer[]) => open(withDigest(Buffer.concat([head, ...parts, end])), 'quick');
  t.ok(await made(...pieces, last));
  for (const forged of [
    pieces,
    [last],
    [],
    [...pieces, last, last],
    [...strange, last],
    [...pieces, ...pieces, last],
  ]) {
    await t.rejects(made(...forged), { message: /was changed on purpose/ });
  }
  const clear = await openBackup(replica, { nodeId: 'm1', takenAtMs: NOW_MS });
  const inClear = Buffer.concat(await clear.toArray());
  await t.rejects(open(inClear, 'quick'), { message: /is in clear, and has no passphrase/ });
  t.equal((await open(inClear, ask)).isSealed, false, 'those of before are restored');
  for (const bytes of [
    inClear.subarray(0, -1),
    inClear.subarray(0, 20),
    Buffer.alloc(0),
    Buffer.concat([inClear.subarray(0, -1), end]),
    Buffer.concat([inClear, end]),
  ]) {
    const seal = Readable.from(sealedBackup(Readable.from([bytes]), { passphrase: 'quick', costLog2: 1 }));
    await t.rejects(seal.toArray(), { code: 'unavailable', message: /is not a whole backup/ });
  }
  await log.close();
});

/** Cut elsewhere than where it was made. */
async function* inBits(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length; at += 1001) yield chunk.subarray(at, at + 1001);
  }
}

/** What goes before the pieces of a backup, the pieces with their lengths, and the last one. */
function parted(bytes: Buffer): [Buffer, Buffer[], Buffer] {
  const first = 16 + bytes.readUInt32LE(12);
  const pieces: Buffer[] = [];
  for (let at = first; bytes.readUInt32LE(at) !== 0xffff_ffff; ) {
    const next = at + 4 + bytes.readUInt32LE(at);
    pieces.push(bytes.subarray(at, next));
    at = next;
  }
  const last = pieces.pop();
  assert.ok(last !== undefined);
  return [bytes.subarray(0, first), pieces, last];
}

t.test('the last manager goes on alone with its own state, and the others are workers', async (t) => {
  const directory = join(folder(t), 'raft');
  const { log } = await running(directory);
  await log.close();
  // It is one of three: without the others it is not elected.
  const member = { directory, identity: { clusterId: 'c1', memberId: 'm1' }, keys: {} };
  const { storage, initial } = await MemberStorage.open(member);
  const [index, term] = [(initial.entries.at(-1)?.index ?? 0) + 1, initial.hardState.term];
  const membership = { voters: ['m1', 'm2', 'm3'], learners: [] };
  const entry = { type: 'membership' as const, index, term, membership, data: new Uint8Array(0) };
  await storage.write({ snapshot: undefined, entries: [entry], hardState: undefined });
  await storage.close();
  const options = { directory, identity, managerAddr: '10.0.0.7:2377', addr: '10.0.0.7', nowMs: NOW_MS + 5 };
  await t.rejects(
    forceNewClusterAt({ ...options, identity: { ...identity, clusterId: 'c9' } }),
    /belongs to cluster "c1"/,
  );
  await forceNewClusterAt(options);
  await forceNewClusterAt(options);
  const again = await started(directory, 'resume');
  t.same(roles(again.replica.view), ['m1 manager manager', 'm2 worker worker', 'm3 worker worker', 'w4 worker worker']);
  t.same([names(again.replica.view), again.replica.members.voters], [['first'], ['m1']]);
  t.match(again.replica.view.node('m1'), { managerAddr: '10.0.0.7:2377', status: { addr: '10.0.0.7' } });
  await create(again.replica, 'next');
  await again.log.close();
  rmSync(join(directory, 'keys.json'));
  await t.rejects(forceNewClusterAt(options), /keys.json is missing/);
});
