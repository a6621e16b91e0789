import type { Endpoint, NamedService, NetworkNode } from '@apiary/overlay-net/core';
import type { NetworkBook, NetworkNews, ToldPort } from './network-book.js';

/** The difference to the update before it, or all of it: the shapes of api/proto/network.proto. */
export type NetworkUpdate =
  | {
      type: 'endpoints';
      networkId: string;
      version: number;
      complete: boolean;
      endpoints: Required<Endpoint>[];
      removedTaskIds: string[];
      services: Required<NamedService>[];
      removedServiceIds: string[];
    }
  | { type: 'nodes'; complete: boolean; nodes: NetworkNode[]; removedNodeIds: string[] }
  | {
      type: 'ports';
      complete: boolean;
      ports: ToldPort[];
      removed: { protocol: string; publishedPort: number }[];
    };

/** Up to which moment a session has been told of one network. */
interface Told {
  version: number;
  endpoints: number;
  services: number;
}

/**
 * What one session is told of networks: of those that the node's tasks are on, of the ports of every node, and of the
 * other nodes while either concerns it. At its start all of it, then what changed.
 */
export class NetworkFeed {
  readonly #networks = new Map<string, Told>();
  #ports: number | undefined;
  /** Undefined before anything was said of nodes, `none` while none of them concerns this one. */
  #nodes: number | 'none' | undefined;

  /** Whether there may be something to say. */
  concerns({ networkIds, nodes, ports }: NetworkNews): boolean {
    if (ports || (nodes && this.#nodes !== 'none')) return true;
    for (const id of networkIds) if (this.#networks.has(id)) return true;
    return false;
  }

  /**
   * What has to be said now; it counts as said. O(changes since the last time).
   *
   * @param networkIds  the overlay networks that the node's tasks are on
   */
  take(book: NetworkBook, networkIds: ReadonlySet<string>): NetworkUpdate[] {
    const updates: NetworkUpdate[] = [];
    // What is sent to a task's address must find its node.
    const isReached = networkIds.size > 0 || book.ports.size > 0;
    this.#takeNodes(book, isReached, updates);
    for (const id of this.#networks.keys()) if (!networkIds.has(id)) this.#networks.delete(id);
    for (const id of networkIds) this.#takeNetwork(book, id, updates);
    this.#takePorts(book, updates);
    return updates;
  }

  #takeNodes({ nodes: ledger }: NetworkBook, isReached: boolean, updates: NetworkUpdate[]): void {
    if (!isReached && typeof this.#nodes !== 'number') {
      if (this.#nodes === undefined) updates.push({ type: 'nodes', complete: true, nodes: [], removedNodeIds: [] });
      this.#nodes = 'none';
      return;
    }
    const { complete, changed, removedIds } = ledger.since(this.#nodes === 'none' ? undefined : this.#nodes);
    this.#nodes = ledger.now;
    if (!complete && changed.length === 0 && removedIds.length === 0) return;
    updates.push({ type: 'nodes', complete, nodes: changed, removedNodeIds: removedIds });
  }

  #takeNetwork(book: NetworkBook, networkId: string, updates: NetworkUpdate[]): void {
    const set = book.set(networkId);
    const told = this.#networks.get(networkId);
    let endpoints = set.endpoints.since(told?.endpoints);
    let services = set.services.since(told?.services);
    if (endpoints.complete !== services.complete) {
      // A message is complete as a whole.
      endpoints = set.endpoints.since(undefined);
      services = set.services.since(undefined);
    }
    const { complete } = endpoints;
    const count = endpoints.changed.length + endpoints.removedIds.length + services.changed.length;
    if (!complete && count + services.removedIds.length === 0) return;
    const version = (told?.version ?? 0) + 1;
    this.#networks.set(networkId, { version, endpoints: set.endpoints.now, services: set.services.now });
    updates.push({
      type: 'endpoints',
      networkId,
      version,
      complete,
      endpoints: endpoints.changed,
      removedTaskIds: endpoints.removedIds,
      services: services.changed,
      removedServiceIds: services.removedIds,
    });
  }

  #takePorts({ ports: ledger }: NetworkBook, updates: NetworkUpdate[]): void {
    const { complete, changed, removedIds } = ledger.since(this.#ports);
    this.#ports = ledger.now;
    if (!complete && changed.length === 0 && removedIds.length === 0) return;
    const removed = removedIds.map((key) => {
      const [protocol = '', port] = key.split('/');
      return { protocol, publishedPort: Number(port) };
    });
    updates.push({ type: 'ports', complete, ports: changed, removed });
  }
}
