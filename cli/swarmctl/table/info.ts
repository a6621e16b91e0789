import type { SwarmInfo } from '@apiary/api/model';
import { humanBytes, humanDuration } from './human.js';

/**
 * The page of `info`: the swarm's part and what the engine says of itself, in Docker's words.
 *
 * @param info  `GET /info`
 */
export function infoPage(info: { Swarm: SwarmInfo; [key: string]: unknown }, version: string) {
  const lines = [
    'Client: Apiary',
    ` Version:    ${version}`,
    '',
    'Server:',
    ...fields(info, ENGINE_FIELDS),
    ` Swarm: ${info.Swarm.LocalNodeState}`,
    ...swarmLines(info.Swarm),
    ...fields(info, HOST_FIELDS),
    '',
  ];
  const warnings = Array.isArray(info['Warnings']) ? info['Warnings'].map(String) : [];
  return { text: `${lines.join('\n')}\n`, warnings };
}

const ENGINE_FIELDS: [string, string][] = [
  [' Containers', 'Containers'],
  ['  Running', 'ContainersRunning'],
  ['  Paused', 'ContainersPaused'],
  ['  Stopped', 'ContainersStopped'],
  [' Images', 'Images'],
  [' Server Version', 'ServerVersion'],
  [' Storage Driver', 'Driver'],
  [' Logging Driver', 'LoggingDriver'],
  [' Cgroup Driver', 'CgroupDriver'],
  [' Cgroup Version', 'CgroupVersion'],
];

const HOST_FIELDS: [string, string][] = [
  [' Default Runtime', 'DefaultRuntime'],
  [' Init Binary', 'InitBinary'],
  [' Kernel Version', 'KernelVersion'],
  [' Operating System', 'OperatingSystem'],
  [' OSType', 'OSType'],
  [' Architecture', 'Architecture'],
  [' CPUs', 'NCPU'],
  [' Total Memory', 'MemTotal'],
  [' Name', 'Name'],
  [' ID', 'ID'],
  [' Docker Root Dir', 'DockerRootDir'],
  [' Debug Mode', 'Debug'],
  [' HTTP Proxy', 'HttpProxy'],
  [' HTTPS Proxy', 'HttpsProxy'],
  [' No Proxy', 'NoProxy'],
  [' Experimental', 'ExperimentalBuild'],
  [' Live Restore Enabled', 'LiveRestoreEnabled'],
];

function fields(info: Record<string, unknown>, names: [string, string][]): string[] {
  return names.flatMap(([label, key]) => {
    const value = info[key];
    if (value === undefined || value === null || value === '') return [];
    return [`${label}: ${key === 'MemTotal' ? humanBytes(Number(value)) : String(value)}`];
  });
}

function swarmLines(swarm: SwarmInfo): string[] {
  if (swarm.LocalNodeState === 'inactive' || swarm.LocalNodeState === 'locked') return [];
  const managers = (swarm.RemoteManagers ?? []).map(({ Addr: address }) => `   ${address}`).sort();
  return [
    `  NodeID: ${swarm.NodeID}`,
    ...(swarm.Error === '' ? [] : [`  Error: ${swarm.Error}`]),
    `  Is Manager: ${swarm.ControlAvailable}`,
    ...(swarm.ControlAvailable && swarm.Error === '' ? clusterLines(swarm) : []),
    `  Node Address: ${swarm.NodeAddr}`,
    ...(managers.length === 0 ? [] : ['  Manager Addresses:', ...managers]),
  ];
}

/** Said only of a swarm that was made with pools of its own: the defaults are no size of Docker's. */
function poolLines({ DefaultAddrPool: pools, SubnetSize: size }: NonNullable<SwarmInfo['Cluster']>): string[] {
  if (!pools || pools.length === 0) return [];
  return [`  Default Address Pool: ${pools.map((pool) => `${pool}  `).join('')}`, `  SubnetSize: ${size}`];
}

function clusterLines({ Cluster: cluster, Managers: managers = 0, Nodes: nodes = 0 }: SwarmInfo): string[] {
  if (cluster === undefined) return [];
  const { Orchestration, Raft, Dispatcher, CAConfig, EncryptionConfig } = cluster.Spec;
  const duration = (nanoseconds = 0) => humanDuration(nanoseconds / 1e6);
  return [
    `  ClusterID: ${cluster.ID}`,
    `  Managers: ${managers}`,
    `  Nodes: ${nodes}`,
    ...poolLines(cluster),
    ...(cluster.DataPathPort > 0 ? [`  Data Path Port: ${cluster.DataPathPort}`] : []),
    '  Orchestration:',
    `   Task History Retention Limit: ${Orchestration?.TaskHistoryRetentionLimit ?? 0}`,
    '  Raft:',
    `   Snapshot Interval: ${Raft?.SnapshotInterval ?? 0}`,
    `   Number of Old Snapshots to Retain: ${Raft?.KeepOldSnapshots ?? 0}`,
    `   Heartbeat Tick: ${Raft?.HeartbeatTick ?? 0}`,
    `   Election Tick: ${Raft?.ElectionTick ?? 0}`,
    '  Dispatcher:',
    `   Heartbeat Period: ${duration(Dispatcher?.HeartbeatPeriod)}`,
    '  CA Configuration:',
    `   Expiry Duration: ${duration(CAConfig?.NodeCertExpiry)}`,
    `   Force Rotate: ${CAConfig?.ForceRotate ?? 0}`,
    `  Autolock Managers: ${EncryptionConfig?.AutoLockManagers ?? false}`,
    `  Root Rotation In Progress: ${cluster.RootRotationInProgress}`,
  ];
}
