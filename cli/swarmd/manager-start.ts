import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { formatHostPort } from '@apiary/api/model';
import type { ClusterInit } from '@apiary/manager/core';
import type { Manager } from '@apiary/manager/io';
import type { Sealing } from '@apiary/std';
import type { NodeIdentity } from '@apiary/worker/io';
import { localAddr, resolveListenAddr } from './address.js';
import { listenAddrOf } from './advertisement.js';
import { managerAddrOf, type NodeFile } from './node-file.js';
import type { SwarmNodeOptions } from './swarm-node-options.js';

/** How a manager comes by its log: it makes the cluster, is sent it by the leader, or has it on disk. */
export type LogStart =
  | { start: 'bootstrap'; create: Pick<ClusterInit, 'rootCa' | 'spec' | 'availability' | 'networks'> }
  | { start: 'join' }
  | { start: 'resume' };

/**
 * What a manager consists of is loaded by then: a worker has 4 MiB less resident without.
 *
 * @throws ApiaryError `failed-precondition` as `startManager`; nothing runs then
 */
export async function startManagerOf(
  { dataRoot, clock, rng, logger, onFatal }: SwarmNodeOptions,
  file: NodeFile,
  identity: NodeIdentity,
  log: LogStart,
  sealing?: Sealing | undefined,
): Promise<Manager> {
  const { startManager } = await import('@apiary/manager/io');
  const managerAddr = managerAddrOf(file);
  const create = log.start === 'bootstrap' ? log.create : undefined;
  return startManager({
    directory: logDirectory(dataRoot),
    identity,
    start: log.start,
    sealing,
    listenAddr: listenAddrOf(file),
    managerAddr,
    create: create && {
      ...create,
      clusterId: file.clusterId,
      nodeId: file.nodeId,
      addr: file.advertiseAddr,
      managerAddr,
    },
    clock,
    rng,
    logger,
    onFatal,
  });
}

/** The managers, `HOST:PORT`, this node's own first: it is called where it listens. */
export function managersToCall(file: NodeFile, runsManager: boolean): string[] {
  if (!runsManager) return file.managers.map(({ addr }) => addr);
  const own = formatHostPort(localAddr(resolveListenAddr(file.listenAddr)));
  return [own, ...file.managers.filter(({ nodeId }) => nodeId !== file.nodeId).map(({ addr }) => addr)];
}

export function logDirectory(dataRoot: string): string {
  return join(dataRoot, 'raft');
}

export async function removeLog(dataRoot: string): Promise<void> {
  await rm(logDirectory(dataRoot), { recursive: true, force: true });
}
