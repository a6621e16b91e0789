import { ENTRY_MARK, ENTRY_MARK_MASK, type GatewayPeer } from './gateway-peers.js';

/**
 * What the kernel has of the ways of gateway networks, beside the devices themselves. Each row is known by a key; rows of
 * one key and different values stand in each other's way.
 */
export type TunnelRow =
  | { kind: 'neighbour'; address: string; mac: string }
  | { kind: 'fdb'; mac: string; destination: string }
  /** `source`: what this host sends by itself comes from there. */
  | { kind: 'route'; destination: string; gateway: string; table: number; source: string }
  /** Replies to what came in by way of another host: they have its mark. */
  | { kind: 'rule'; priority: number; mark: number; table: number }
  /** What has no such mark need not be compared with each node's. */
  | { kind: 'pass'; priority: number }
  /** What comes in from other hosts is on its way to a task; the mark is for the check of its source. */
  | { kind: 'inbound'; priority: number }
  | { kind: 'landing'; priority: number };

export const MAIN_TABLE = 254;
/** Before whatever an administrator is likely to have: a packet with such a mark is nobody else's. */
export const RULE_PRIORITY = { pass: 95, inbound: 96, rule: 97, landing: 98 } as const;

/**
 * Other hosts' tasks are reached through their gateways, and replies to connections that came in at a host go back to it,
 * whatever the client's address.
 *
 * @param gateway  this host's own address on its gateway network
 */
export function tunnelRows(peers: readonly GatewayPeer[], gateway: string): TunnelRow[] {
  const rows: TunnelRow[] = [
    { kind: 'pass', priority: RULE_PRIORITY.pass },
    { kind: 'inbound', priority: RULE_PRIORITY.inbound },
    { kind: 'landing', priority: RULE_PRIORITY.landing },
  ];
  for (const { underlay, subnet, gateway: hop, mac, mark } of peers) {
    rows.push(
      { kind: 'neighbour', address: hop, mac },
      { kind: 'fdb', mac, destination: underlay },
      { kind: 'route', destination: subnet, gateway: hop, table: MAIN_TABLE, source: gateway },
      { kind: 'route', destination: 'default', gateway: hop, table: mark, source: '' },
      { kind: 'rule', priority: RULE_PRIORITY.rule, mark, table: mark },
    );
  }
  return rows;
}

/** What a row is about: there is one of each in the kernel. */
export function tunnelRowKey(row: TunnelRow): string {
  switch (row.kind) {
    case 'neighbour':
      return `neighbour ${row.address}`;
    case 'fdb':
      return `fdb ${row.mac}`;
    case 'route':
      return `route ${row.table} ${row.destination}`;
    case 'rule':
      return `rule ${row.mark}`;
    case 'pass':
    case 'inbound':
    case 'landing':
      return row.kind;
  }
}

/** Whether a routing table is one of those of replies. */
export function isEntryTable(table: number): boolean {
  return (table & ENTRY_MARK_MASK) >>> 0 === ENTRY_MARK;
}

/**
 * What has to be taken away, and then added, for `present` to be `wanted`: by key, and without touching what is the same.
 * O(n).
 */
export function tunnelChanges(
  wanted: readonly TunnelRow[],
  present: readonly TunnelRow[],
): { remove: TunnelRow[]; add: TunnelRow[] } {
  const asked = new Map(wanted.map((row) => [tunnelRowKey(row), JSON.stringify(row)]));
  const kept = new Set<string>();
  const remove: TunnelRow[] = [];
  for (const row of present) {
    const key = tunnelRowKey(row);
    // Of two that are the same one is too many.
    if (asked.get(key) === JSON.stringify(row) && !kept.has(key)) kept.add(key);
    else remove.push(row);
  }
  return { remove, add: wanted.filter((row) => !kept.has(tunnelRowKey(row))) };
}
