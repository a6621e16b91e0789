import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initCluster } from '@apiary/manager/core';
import { createRootCa, type Replica, type RootCa, StoreReplica } from '@apiary/manager/io';
import { noPeers, ReplicatedLog } from '@apiary/raft/io';
import type { Clock } from '@apiary/std';
import { SystemClock, SystemRng } from '@apiary/std/io';

export const SELF = 'n0000000000000000000000self';

/** What an agent says of its host. */
export const DESCRIPTION = {
  Hostname: 'h1',
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 2e9, MemoryBytes: 1e9 },
  Engine: { EngineVersion: '20.10.24', Plugins: [] },
};

/** What an agent is told of a network. */
export const NETWORK = {
  networkId: 'net',
  name: 'front',
  vni: 4097,
  subnet: '10.0.0.0/24',
  gateway: '10.0.0.1',
  ipv6Subnet: 'fd00::/64',
  ipv6Gateway: 'fd00::1',
  otherSubnets: ['10.0.32.0/24'],
  internal: false,
  attachable: false,
  encrypted: false,
  mtu: 0,
  engineNetwork: '',
};

/** A manager's state, with its log on disk. */
export interface FuzzedManager {
  directory: string;
  clock: Clock;
  replica: Replica;
  rootCa: RootCa;
  close(): Promise<void>;
}

export async function openManager(): Promise<FuzzedManager> {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-fuzz-'));
  const clock = new SystemClock();
  const rng = new SystemRng();
  const log = new ReplicatedLog({
    directory: join(directory, 'log'),
    identity: { clusterId: 'c1', memberId: SELF },
    start: 'bootstrap',
    transport: noPeers(),
    clock,
    rng,
  });
  const onFatal = (error: unknown) => {
    throw error;
  };
  const replica = new StoreReplica({ log, clock, rng, onFatal });
  await replica.open();
  const rootCa = createRootCa(clock.now());
  const managerAddr = '10.0.0.1:2377';
  const init = {
    nodeId: SELF,
    rootCa,
    availability: 'active',
    addr: '10.0.0.1',
    managerAddr,
    description: DESCRIPTION,
  } as const;
  await replica.submit((view, context) => initCluster(view, init, context.rng));
  const close = async () => {
    await log.close();
    await rm(directory, { recursive: true });
  };
  return { directory, clock, replica, rootCa, close };
}
