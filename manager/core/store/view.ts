import type { ContentKind } from '@apiary/api/model';
import type { AddressUse, Ipv6AddressUse } from '@apiary/overlay-net/core';
import type { ClusterEvent } from '../events/cluster-event.js';
import type { Demand, NodeUsage } from './node-usage.js';
import type {
  AttachmentRecord,
  ClientCertificateRecord,
  ClusterRecord,
  ContentRecord,
  NetworkRecord,
  NodeRecord,
  ServiceRecord,
  SpecVersion,
  TaskRecord,
} from './records.js';

/** Committed state, to be read. Every iteration is in the order of ids, so that all replicas decide alike. */
export interface View {
  /** Index of the last applied entry. */
  readonly appliedIndex: number;
  cluster(): ClusterRecord | undefined;
  clientCertificate(id: string): ClientCertificateRecord | undefined;
  clientCertificates(): ClientCertificateRecord[];
  node(id: string): NodeRecord | undefined;
  nodes(): NodeRecord[];
  service(id: string): ServiceRecord | undefined;
  /** Names are one whatever their case. */
  serviceByName(name: string): ServiceRecord | undefined;
  services(): ServiceRecord[];
  /** Services whose tasks are being spread anew. */
  rebalancing(): ServiceRecord[];
  /** A version of a secret or a config, also one that its name has no more. */
  content(kind: ContentKind, id: string): ContentRecord | undefined;
  /** The version that the name has. Names are one whatever their case. */
  contentByName(kind: ContentKind, name: string): ContentRecord | undefined;
  /** The version of each name. */
  contents(kind: ContentKind): ContentRecord[];
  /** All versions of a name that are there, the one that it has first. */
  contentVersions(kind: ContentKind, name: string): ContentRecord[];
  network(id: string): NetworkRecord | undefined;
  networks(): NetworkRecord[];
  /** Who has which of a network's addresses, kept as they change: to be read at once. */
  addresses(networkId: string): AddressUse & {
    highest(): number | undefined;
    owners: ReadonlyMap<number, string>;
    ipv6: Ipv6AddressUse & { owners: ReadonlyMap<string, string> };
  };
  attachment(id: string): AttachmentRecord | undefined;
  attachments(): AttachmentRecord[];
  attachmentsOfNode(nodeId: string): AttachmentRecord[];
  task(id: string): TaskRecord | undefined;
  tasks(): TaskRecord[];
  tasksOfService(serviceId: string): TaskRecord[];
  tasksOfNode(nodeId: string): TaskRecord[];
  /** What the tasks of the node take of it, kept as they change: to be read at once, for it goes on to change. O(1). */
  usageOfNode(nodeId: string): NodeUsage;
  /** Tasks that wait for a node (or, of a global service, for room on theirs) and are still to run. */
  pendingTasks(): TaskRecord[];
  /** @throws InvariantError when no task, service or rollback needs that version any more */
  spec(serviceId: string, version: number): SpecVersion;
  /**
   * What each task of the spec version takes from its node.
   *
   * @throws InvariantError as `spec` does
   */
  demand(serviceId: string, version: number): Demand;
  /** The last events of each kind, oldest first: O(n log n). */
  events(): ClusterEvent[];
}
