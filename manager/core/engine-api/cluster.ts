import type { ClusterInfo, ClusterSpec, Swarm, SwarmInfo, TlsInfo } from '@apiary/api/model';
import { DOCKER_SUBNET_LENGTH, dataPathPortOf } from '../requests/network-settings.js';
import type { ClusterRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { filled, metaOf } from './timestamp.js';

const SECOND_NS = 1_000_000_000;
const DAY_NS = 24 * 3600 * SECOND_NS;

/** The cluster as `GET /info` shows it: without its join tokens. */
export function clusterObject(record: ClusterRecord, tlsInfo: TlsInfo): ClusterInfo {
  return {
    ...metaOf(record),
    Spec: clusterSpecObject(record.spec),
    TLSInfo: tlsInfo,
    RootRotationInProgress: record.rootRotation !== undefined,
    DefaultAddrPool: record.addressPools?.pools ?? null,
    SubnetSize: record.addressPools?.subnetLength ?? DOCKER_SUBNET_LENGTH,
    DataPathPort: dataPathPortOf(record),
  };
}

/** `GET /swarm`. */
export function swarmObject(record: ClusterRecord, tlsInfo: TlsInfo, joinTokens: Swarm['JoinTokens']): Swarm {
  return { ...clusterObject(record, tlsInfo), JoinTokens: joinTokens };
}

/** What `GET /info` counts: the nodes, and those of them that are members of the managers' log. */
export function nodeCounts(view: View): Required<Pick<SwarmInfo, 'Nodes' | 'Managers'>> {
  const nodes = view.nodes();
  return { Nodes: nodes.length, Managers: nodes.filter(({ role }) => role === 'manager').length };
}

/** The managers and where they are reached, as `GET /info` of a manager and every session's agent are told. */
export function managersOf(view: View): { nodeId: string; addr: string }[] {
  return view
    .nodes()
    .flatMap(({ id, role, managerAddr }) =>
      role === 'manager' && managerAddr !== undefined ? [{ nodeId: id, addr: managerAddr }] : [],
    );
}

/** A cluster's spec with the values in force: Docker's defaults for what it leaves open. */
function clusterSpecObject(spec: ClusterSpec): ClusterSpec {
  const { Raft: raft = {}, CAConfig: ca = {} } = spec;
  return {
    Name: filled(spec.Name) ?? 'default',
    Labels: spec.Labels ?? {},
    Orchestration: { TaskHistoryRetentionLimit: spec.Orchestration?.TaskHistoryRetentionLimit ?? 5 },
    Raft: {
      SnapshotInterval: raft.SnapshotInterval ?? 10_000,
      KeepOldSnapshots: raft.KeepOldSnapshots ?? 0,
      LogEntriesForSlowFollowers: raft.LogEntriesForSlowFollowers ?? 500,
      ElectionTick: raft.ElectionTick ?? 10,
      HeartbeatTick: raft.HeartbeatTick ?? 1,
    },
    Dispatcher: { HeartbeatPeriod: spec.Dispatcher?.HeartbeatPeriod ?? 5 * SECOND_NS },
    CAConfig: {
      NodeCertExpiry: ca.NodeCertExpiry ?? 90 * DAY_NS,
      ExternalCAs: filled(ca.ExternalCAs),
      ForceRotate: filled(ca.ForceRotate),
    },
    TaskDefaults: { LogDriver: spec.TaskDefaults?.LogDriver },
    EncryptionConfig: { AutoLockManagers: spec.EncryptionConfig?.AutoLockManagers ?? false },
  };
}
