import type { ClusterSpec, ContainerSpec, Mount, ServiceSpec } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import { quoted, unhonoured } from './refusal.js';

/**
 * Refuses what this version does not honour of a service spec: what was asked for is done or refused, never dropped.
 *
 * @throws ApiaryError `unimplemented`, naming the path
 */
export function refuseUnhonoured(spec: ServiceSpec): void {
  const template = spec.TaskTemplate;
  if (template.PluginSpec !== undefined) throw unhonoured('TaskTemplate.PluginSpec');
  if (template.NetworkAttachmentSpec !== undefined) throw unhonoured('TaskTemplate.NetworkAttachmentSpec');
  refuseUnhonouredContainer(template.ContainerSpec ?? {}, 'TaskTemplate.ContainerSpec');
}

function refuseUnhonouredContainer(spec: ContainerSpec, path: string): void {
  if (isAsked(Object.values(spec.Privileges?.CredentialSpec ?? {}).find((value) => value !== ''))) {
    throw new ApiaryError(
      'unimplemented',
      `${path}.Privileges.CredentialSpec is of containers on Windows, and every node here runs Linux: remove it`,
    );
  }
  // The first two are for the engine to refuse, as with Docker; a word that Docker does not know is dropped there.
  const { Isolation = '' } = spec;
  if (!['', 'default', 'process', 'hyperv'].includes(Isolation)) {
    throw unhonoured(`${path}.Isolation ${quoted(Isolation)}`);
  }
  for (const [i, mount] of (spec.Mounts ?? []).entries()) refuseUnhonouredMount(mount, `${path}.Mounts[${i}]`);
}

/** Mounts of other systems, and of what Swarm has no tasks with. */
function refuseUnhonouredMount(mount: Mount, path: string): void {
  const { Type = '' } = mount;
  if (!['', 'bind', 'volume', 'tmpfs', 'npipe'].includes(Type)) throw unhonoured(`${path}.Type ${quoted(Type)}`);
  if (mount.ClusterOptions !== undefined) throw unhonoured(`${path}.ClusterOptions`);
  if (mount.ImageOptions !== undefined) throw unhonoured(`${path}.ImageOptions`);
}

/** Go's clients write an empty value for what was not asked for. */
function isAsked(value: string | number | boolean | unknown[] | undefined): boolean {
  return Array.isArray(value)
    ? value.length > 0
    : value !== undefined && value !== '' && value !== 0 && value !== false;
}

const SECOND_NS = 1_000_000_000;
const DAY_NS = 24 * 3600 * SECOND_NS;

/** The spec of a new cluster, as Docker's `swarm init` makes it. */
export function defaultClusterSpec() {
  return {
    Name: 'default',
    Labels: {},
    Orchestration: { TaskHistoryRetentionLimit: 5 },
    Raft: {
      SnapshotInterval: 10_000,
      KeepOldSnapshots: 0,
      LogEntriesForSlowFollowers: 500,
      ElectionTick: 10,
      HeartbeatTick: 1,
    },
    Dispatcher: { HeartbeatPeriod: 5 * SECOND_NS },
    CAConfig: { NodeCertExpiry: 90 * DAY_NS },
    TaskDefaults: {},
    EncryptionConfig: { AutoLockManagers: false },
  } satisfies ClusterSpec;
}

/**
 * A cluster's spec with Docker's defaults for what is left open: Go's clients write 0 for a number that was not asked
 * for, and `docker swarm init` does so with both of Raft's ticks.
 */
export function completeClusterSpec(spec: ClusterSpec): ClusterSpec {
  const defaults = defaultClusterSpec();
  return {
    ...defaults,
    ...spec,
    Name: 'default',
    Orchestration: { ...defaults.Orchestration, ...spec.Orchestration },
    Raft: { ...defaults.Raft, ...askedOf(spec.Raft ?? {}) },
    Dispatcher: { ...defaults.Dispatcher, ...askedOf(spec.Dispatcher ?? {}) },
    CAConfig: { ...defaults.CAConfig, ...askedOf(spec.CAConfig ?? {}) },
  };
}

function askedOf<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => isAsked(value))) as Partial<T>;
}

/** What a cluster's spec asks of the managers' log. */
export interface RaftSettings {
  /** A snapshot is taken when so many entries have been applied since the last. */
  snapshotEntries: number;
  /** Snapshots that are kept beside the newest. */
  oldSnapshots: number;
  /** Entries before the newest snapshot that stay in the log, so that a member that is behind needs no snapshot. */
  trailingEntries: number;
}

/**
 * The settings of the managers' log, with Docker's defaults for what is left open. Every manager reads them from its own
 * replica, at its start and whenever the cluster is touched.
 */
export function raftSettingsOf(spec: ClusterSpec): RaftSettings {
  const { Raft } = completeClusterSpec(spec);
  const defaults = defaultClusterSpec().Raft;
  return {
    snapshotEntries: Raft?.SnapshotInterval ?? defaults.SnapshotInterval,
    oldSnapshots: Raft?.KeepOldSnapshots ?? defaults.KeepOldSnapshots,
    trailingEntries: Raft?.LogEntriesForSlowFollowers ?? defaults.LogEntriesForSlowFollowers,
  };
}

/**
 * Refuses what this version does not honour of a cluster spec. Docker's clients send the whole spec back with each
 * update, so that Docker's own default is always let pass.
 *
 * @throws ApiaryError `unimplemented`, naming the path
 */
export function refuseUnhonouredClusterSpec(spec: ClusterSpec): void {
  const { Raft: defaults } = defaultClusterSpec();
  for (const key of ['ElectionTick', 'HeartbeatTick'] as const) {
    const value = spec.Raft?.[key];
    if (!isAsked(value) || value === defaults[key]) continue;
    throw unhonoured(
      `Raft.${key} ${value}`,
      `managers send heartbeats every 100 ms and elect after 1 to 2 s of silence: leave it at ${defaults[key]}`,
    );
  }
  if (isAsked(spec.TaskDefaults?.LogDriver?.Name)) throw unhonoured('TaskDefaults.LogDriver');
}
