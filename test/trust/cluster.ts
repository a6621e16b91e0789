import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import {
  createRootCa,
  Dispatcher,
  Issuer,
  issueCertificate,
  nodeCaService,
  rootDigestOfPem,
  StoreReplica,
  startRpcServer,
} from '@apiary/manager/io';
import { noPeers, ReplicatedLog } from '@apiary/raft/io';
import type { Clock } from '@apiary/std';
import { SystemClock, SystemRng } from '@apiary/std/io';
import { type NodeIdentity, nodeIdentityOf } from '@apiary/worker/io';
import { pino } from 'pino';
import type { Test } from 'tap';

export const DAY_MS = 24 * 3600 * 1000;
export const SECRET = 'w'.repeat(25);
const log = pino({ level: 'silent' });

export function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'apiary-enrolment-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function identityOf(
  rootCa: { certificatePem: string; keyPem: string },
  role: 'worker' | 'manager',
  nodeId: string,
): NodeIdentity {
  const { keyPem, csrPem } = createKeyAndCsr();
  const chain = issueCertificate({
    rootCa,
    csrPem,
    nodeId,
    role,
    clusterId: 'c1',
    validityMs: DAY_MS,
    nowMs: Date.now(),
  });
  return nodeIdentityOf(chain, keyPem, rootCa.certificatePem);
}

/** A manager with its log on disk. */
export async function startCluster(t: Test, clock: Clock = new SystemClock()) {
  const rootCa = createRootCa(Date.now());
  const logOfCluster = new ReplicatedLog({
    directory: join(folderOf(t), 'raft'),
    identity: { clusterId: 'c1', memberId: 'm1' },
    start: 'bootstrap',
    transport: noPeers(),
    clock,
    rng: new SystemRng(),
    logger: log,
  });
  const onFatal = (error: unknown) => t.fail('fatal', { error });
  const replica = new StoreReplica({ log: logOfCluster, clock, rng: new SystemRng(), onFatal });
  await replica.open();
  const status = { state: 'unknown' as const, message: '', addr: '' };
  await replica.submit(() => ({
    guards: [],
    changes: [
      {
        type: 'cluster-create',
        cluster: { id: 'c1', spec: {}, joinSecrets: { worker: SECRET, manager: 'm'.repeat(25) }, rootCa },
      },
      { type: 'node-create', node: { id: 'm1', role: 'manager', spec: {}, status } },
    ],
    result: undefined,
  }));
  const dispatcher = new Dispatcher({ replica, clock, log });
  const issuer = new Issuer({ identity: () => undefined, clock });
  const services = [nodeCaService({ replica, issuer, clock, rng: new SystemRng(), log }), dispatcher.service];
  const identity = identityOf(rootCa, 'manager', 'm1');
  const server = await startRpcServer({ listenAddr: '127.0.0.1:0', identity, services, replica, clock });
  t.teardown(async () => {
    dispatcher.close();
    await server.close();
    await logOfCluster.close();
  });
  const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootCa.certificatePem), secret: SECRET });
  return { rootCa, replica, addr: server.addr, joinToken };
}
