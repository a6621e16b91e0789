import * as v from 'valibot';

/** What a user writes of a node and of the cluster: the Docker Engine API's `NodeSpec` and `SwarmSpec`, verbatim. */

const opt = v.optional;
const text = v.string();
const int = v.pipe(v.number(), v.safeInteger());
const uint = v.pipe(int, v.minValue(0));
const labels = v.record(text, text);

export const NodeSpecSchema = v.strictObject({
  Name: opt(text),
  Labels: opt(labels),
  Role: opt(v.picklist(['worker', 'manager'])),
  Availability: opt(v.picklist(['active', 'pause', 'drain'])),
});
export type NodeSpec = v.InferOutput<typeof NodeSpecSchema>;

export const ClusterSpecSchema = v.strictObject({
  Name: opt(text),
  Labels: opt(labels),
  Orchestration: opt(v.strictObject({ TaskHistoryRetentionLimit: opt(int) })),
  Raft: opt(
    v.strictObject({
      SnapshotInterval: opt(uint),
      KeepOldSnapshots: opt(uint),
      LogEntriesForSlowFollowers: opt(uint),
      ElectionTick: opt(int),
      HeartbeatTick: opt(int),
    }),
  ),
  Dispatcher: opt(v.strictObject({ HeartbeatPeriod: opt(int) })),
  CAConfig: opt(
    v.strictObject({
      NodeCertExpiry: opt(int),
      ExternalCAs: opt(
        v.array(v.strictObject({ Protocol: opt(text), URL: opt(text), Options: opt(labels), CACert: opt(text) })),
      ),
      SigningCACert: opt(text),
      SigningCAKey: opt(text),
      ForceRotate: opt(uint),
    }),
  ),
  EncryptionConfig: opt(v.strictObject({ AutoLockManagers: opt(v.boolean()) })),
  TaskDefaults: opt(v.strictObject({ LogDriver: opt(v.strictObject({ Name: opt(text), Options: opt(labels) })) })),
});
export type ClusterSpec = v.InferOutput<typeof ClusterSpecSchema>;

/** Body of `POST /swarm/init`. */
export const InitRequestSchema = v.strictObject({
  ListenAddr: opt(text),
  AdvertiseAddr: opt(text),
  DataPathAddr: opt(text),
  DataPathPort: opt(uint),
  DefaultAddrPool: opt(v.array(text)),
  SubnetSize: opt(uint),
  ForceNewCluster: opt(v.boolean()),
  AutoLockManagers: opt(v.boolean()),
  Availability: opt(text),
  Spec: opt(ClusterSpecSchema),
});
export type InitRequest = v.InferOutput<typeof InitRequestSchema>;

/** Body of `POST /swarm/join`. */
export const JoinRequestSchema = v.strictObject({
  ListenAddr: opt(text),
  AdvertiseAddr: opt(text),
  DataPathAddr: opt(text),
  RemoteAddrs: opt(v.array(text)),
  JoinToken: opt(text),
  Availability: opt(text),
});
export type JoinRequest = v.InferOutput<typeof JoinRequestSchema>;

/** Body of `POST /swarm/unlock`. */
export const UnlockRequestSchema = v.strictObject({ UnlockKey: opt(text) });
