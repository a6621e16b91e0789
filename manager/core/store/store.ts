import type { ContentKind } from '@apiary/api/model';
import { invariant, unreachable } from '@apiary/std';
import type { ClusterEvent } from '../events/cluster-event.js';
import { observed } from '../events/derivation.js';
import { applyChange } from './apply-change.js';
import { isNetworkFree, isNetworkUnused } from './apply-network-change.js';
import type { ApplyResult, Entry, Guard, Touched } from './change.js';
import { usesContent } from './content-pins.js';
import { type Demand, type NodeUsage, NodeUsageSum } from './node-usage.js';
import { portConflict } from './published-ports.js';
import type {
  AttachmentRecord,
  ClientCertificateRecord,
  ClusterRecord,
  ContentRecord,
  Meta,
  NetworkRecord,
  NodeRecord,
  ServiceRecord,
  SpecVersion,
  TaskRecord,
} from './records.js';
import { readSnapshot, writeSnapshot } from './snapshot.js';
import { Tables } from './tables.js';
import type { View } from './view.js';

type UnchangedKind = Extract<Guard, { type: 'unchanged' }>['kind'];

/**
 * The cluster's state: what the entries of the log make of an empty one. The same entries make the same state on
 * every member, and a snapshot stands for the entries before it.
 */
export class Store implements View {
  #tables = new Tables();
  #appliedIndex = 0;

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  /**
   * Applies the entry at `index`: all its changes when each of its guards holds, none otherwise.
   *
   * @returns whether it happened, and what it touched
   */
  apply(index: number, entry: Entry): { result: ApplyResult; touched: Touched } {
    invariant(index > this.#appliedIndex, `entry ${index} comes after entry ${this.#appliedIndex} was applied`);
    this.#appliedIndex = index;
    const touched: Touched = {
      cluster: false,
      services: new Set(),
      nodes: new Set(),
      secrets: new Set(),
      configs: new Set(),
      tasks: new Set(),
      taskServices: new Set(),
      assignments: new Set(),
      networks: new Set(),
      attachments: new Set(),
      events: [],
    };
    const failed = entry.guards.find((guard) => !this.#holds(guard));
    if (failed !== undefined) return { result: { ok: false, failed }, touched };
    for (const change of entry.changes) {
      const happened = observed(this.#tables, change);
      applyChange(this.#tables, change, { index, atMs: entry.atMs }, touched);
      for (const draft of happened?.() ?? []) touched.events.push(this.#tables.events.add(draft, entry.atMs));
    }
    return { result: { ok: true, index }, touched };
  }

  /** The state of now as text, in pieces of about 128 Ki characters; later changes do not get into it. */
  snapshot(): Iterable<string> {
    return writeSnapshot(this.#tables);
  }

  /**
   * Replaces the whole state with that of a snapshot taken after the entry at `index`. Nothing is replaced when it
   * throws.
   *
   * @throws ApiaryError `failed-precondition` when the snapshot is of another format, or damaged
   */
  restore(index: number, pieces: Iterable<string>): void {
    this.#tables = readSnapshot(pieces);
    this.#appliedIndex = index;
  }

  cluster(): ClusterRecord | undefined {
    return this.#tables.cluster;
  }

  clientCertificate(id: string): ClientCertificateRecord | undefined {
    return this.#tables.clientCertificates.get(id);
  }

  clientCertificates(): ClientCertificateRecord[] {
    return this.#tables.clientCertificates.list();
  }

  node(id: string): NodeRecord | undefined {
    return this.#tables.nodes.get(id);
  }

  nodes(): NodeRecord[] {
    return this.#tables.nodes.list();
  }

  service(id: string): ServiceRecord | undefined {
    return this.#tables.services.get(id);
  }

  serviceByName(name: string): ServiceRecord | undefined {
    return this.#tables.serviceByName(name);
  }

  services(): ServiceRecord[] {
    return this.#tables.services.list();
  }

  content(kind: ContentKind, id: string): ContentRecord | undefined {
    return this.#tables.contents[kind].get(id);
  }

  contentByName(kind: ContentKind, name: string): ContentRecord | undefined {
    return this.#tables.contents[kind].byName(name);
  }

  contents(kind: ContentKind): ContentRecord[] {
    return this.#tables.contents[kind].current.list();
  }

  contentVersions(kind: ContentKind, name: string): ContentRecord[] {
    return this.#tables.contents[kind].versionsOf(name);
  }

  addresses(networkId: string): ReturnType<View['addresses']> {
    return this.#tables.addresses.use(networkId);
  }

  network(id: string): NetworkRecord | undefined {
    return this.#tables.networks.get(id);
  }

  networks(): NetworkRecord[] {
    return this.#tables.networks.list();
  }

  attachment(id: string): AttachmentRecord | undefined {
    return this.#tables.attachments.get(id);
  }

  attachments(): AttachmentRecord[] {
    return this.#tables.attachments.list();
  }

  attachmentsOfNode(nodeId: string): AttachmentRecord[] {
    return this.#tables.attachmentsOfNode.list(nodeId);
  }

  rebalancing(): ServiceRecord[] {
    return this.#tables.rebalancing.list();
  }

  task(id: string): TaskRecord | undefined {
    return this.#tables.tasks.get(id);
  }

  tasks(): TaskRecord[] {
    return this.#tables.tasks.list();
  }

  tasksOfService(serviceId: string): TaskRecord[] {
    return this.#tables.tasksOfService.list(serviceId);
  }

  tasksOfNode(nodeId: string): TaskRecord[] {
    return this.#tables.tasksOfNode.list(nodeId);
  }

  usageOfNode(nodeId: string): NodeUsage {
    return this.#tables.usageOfNode.get(nodeId) ?? new NodeUsageSum();
  }

  pendingTasks(): TaskRecord[] {
    return this.#tables.pendingTasks.list();
  }

  spec(serviceId: string, version: number): SpecVersion {
    const spec = this.#tables.specs.get(serviceId, version);
    invariant(spec !== undefined, `spec version ${version} of service ${serviceId} is asked for, but gone`);
    return spec;
  }

  demand(serviceId: string, version: number): Demand {
    const demand = this.#tables.specs.demandOf(serviceId, version);
    invariant(demand !== undefined, `the demand of version ${version} of service ${serviceId} is asked for, but gone`);
    return demand;
  }

  events(): ClusterEvent[] {
    return this.#tables.events.list();
  }

  #holds(guard: Guard): boolean {
    switch (guard.type) {
      case 'no-cluster':
        return this.#tables.cluster === undefined;
      case 'service-name-free': {
        const holder = this.#tables.serviceByName(guard.name);
        return holder === undefined || holder.id === guard.exceptId;
      }
      case 'content-name-free':
        return this.contentByName(guard.kind, guard.name) === undefined;
      case 'content-unused':
        return !this.services().some(({ spec }) => usesContent(spec, guard.kind, guard.name));
      case 'network-free':
        return isNetworkFree(this.#tables, guard);
      case 'network-unused':
        return isNetworkUnused(this.#tables, guard.id);
      case 'address-free':
        return this.#tables.addresses.isFreeFor(guard.owner, [guard.address]);
      case 'ports-free':
        return portConflict(this.services(), guard.ports, guard.exceptId) === undefined;
      case 'unchanged': {
        const record = this.#record(guard.kind, guard.id);
        return record !== undefined && (guard.version === undefined || record.meta.version === guard.version);
      }
      default:
        return unreachable(guard);
    }
  }

  #record(kind: UnchangedKind, id: string): { id: string; meta: Meta } | undefined {
    const { cluster, nodes, services, networks } = this.#tables;
    if (kind === 'cluster') return cluster?.id === id ? cluster : undefined;
    if (kind === 'network') return networks.get(id);
    if (kind === 'secret' || kind === 'config') return this.content(kind, id);
    return kind === 'node' ? nodes.get(id) : services.get(id);
  }
}
