import type { ClusterSpec } from '@apiary/api/model';
import {
  boolFlag,
  type Flag,
  type ParsedFlags,
  parseDuration,
  parseInt64,
  parseUint,
  valueFlag,
} from '../command-line/index.js';
import type { CommandModule, Context } from './context.js';
import { externalCa, externalCasOf } from './external-ca.js';
import { tellUnlockKey } from './unlock.js';

/** Settings of the cluster that `init` and `update` share: those that the daemon honours. Durations in nanoseconds. */

export const autolock = boolFlag(
  'autolock',
  'Enable manager autolocking (requiring an unlock key to start a stopped manager)',
);
const changeAutolock = boolFlag('autolock', 'Change manager autolocking setting (true|false)');
const taskHistoryLimit = valueFlag('task-history-limit', 'Task history retention limit', 'int', parseInt64, {
  defaultText: '5',
});
export const certExpiry = valueFlag(
  'cert-expiry',
  'Validity period for node certificates (ns|us|ms|s|m|h)',
  'duration',
  parseDuration,
  { defaultText: '2160h0m0s' },
);
const dispatcherHeartbeat = valueFlag(
  'dispatcher-heartbeat',
  'Dispatcher heartbeat period (ns|us|ms|s|m|h)',
  'duration',
  parseDuration,
  { defaultText: '5s' },
);
const snapshotInterval = valueFlag(
  'snapshot-interval',
  'Number of log entries between Raft snapshots',
  'uint',
  parseUint,
  { defaultText: '10000' },
);
const maxSnapshots = valueFlag('max-snapshots', 'Number of additional Raft snapshots to retain', 'uint', parseUint);

export const SETTINGS_FLAGS: Flag<unknown>[] = [
  taskHistoryLimit,
  certExpiry,
  dispatcherHeartbeat,
  snapshotInterval,
  maxSnapshots,
  externalCa,
];

/** `spec` with what the flags say put in; what they do not name stays. */
export function withSettings(
  spec: ClusterSpec,
  flags: ParsedFlags,
  context: Pick<Context, 'surroundings'>,
): ClusterSpec {
  const historyLimit = flags.get(taskHistoryLimit);
  const expiryNs = flags.get(certExpiry);
  const heartbeatNs = flags.get(dispatcherHeartbeat);
  const interval = flags.get(snapshotInterval);
  const keptSnapshots = flags.get(maxSnapshots);
  const lock = flags.get(autolock);
  const signers = externalCasOf(context, flags);
  const changed = { ...spec };
  if (historyLimit !== undefined) {
    changed.Orchestration = { ...spec.Orchestration, TaskHistoryRetentionLimit: historyLimit };
  }
  if (expiryNs !== undefined) changed.CAConfig = { ...spec.CAConfig, NodeCertExpiry: expiryNs };
  if (signers !== undefined) changed.CAConfig = { ...changed.CAConfig, ExternalCAs: signers };
  if (heartbeatNs !== undefined) changed.Dispatcher = { ...spec.Dispatcher, HeartbeatPeriod: heartbeatNs };
  if (interval !== undefined) changed.Raft = { ...changed.Raft, SnapshotInterval: interval };
  if (keptSnapshots !== undefined) changed.Raft = { ...changed.Raft, KeepOldSnapshots: keptSnapshots };
  if (lock !== undefined) changed.EncryptionConfig = { AutoLockManagers: lock };
  return changed;
}

export function isAutolocked({ EncryptionConfig: config }: ClusterSpec): boolean {
  return config?.AutoLockManagers === true;
}

export const update: CommandModule = {
  flags: [...SETTINGS_FLAGS, changeAutolock],
  helpWithoutFlags: true,
  run: async (context, flags) => {
    const { client, terminal } = context;
    const { Version: version, Spec: spec } = await client.swarmInspect();
    const wanted = withSettings(spec, flags, context);
    await client.swarmUpdate(version.Index, wanted);
    terminal.out('Swarm updated.\n');
    if (isAutolocked(wanted) && !isAutolocked(spec)) await tellUnlockKey(client, terminal);
  },
};
