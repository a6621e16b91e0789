import { ENTRY_MARK, ENTRY_MARK_MASK, entryAddresses, type GatewayPeer, HAIRPIN_MARK } from './gateway-peers.js';
import type { GatewaySubnet } from './gateway-subnet.js';
import { type PortRow, portRowKey } from './published-ports.js';

/** The one nftables table that is ours. */
export const TABLE = 'inet apiary';

/** What the table is made for. */
export interface GatewayLinks {
  /** That tasks are on. */
  bridge: string;
  /** To other hosts' tasks. */
  tunnel: string;
  /** Two ends of one link: what leaves by the first comes in by the second. */
  hairpin: { out: string; in: string };
  subnet: GatewaySubnet;
}

/** What changes of the table while it is there. */
export interface GatewayFilter {
  peers: readonly GatewayPeer[];
  ports: readonly PortRow[];
  /** Addresses of the tasks that have no way out. */
  confined: readonly string[];
}

export const NO_FILTER: GatewayFilter = { peers: [], ports: [], confined: [] };

/**
 * What makes the table as it should be, in one transaction, whatever it was before; connections go on.
 *
 * Published ports lead to tasks without the client's address being changed; replies to what came in by way of another host
 * are marked for the way back. What tasks send leaves the host under the host's address. They reach each other only by what
 * is published: not over the bridge, whose ports are isolated, and not by way of their hosts.
 */
export function gatewayRules(links: GatewayLinks, filter: GatewayFilter): string {
  return [
    `table ${TABLE}`,
    `delete table ${TABLE}`,
    `table ${TABLE} {`,
    ...SETS.flatMap(({ kind, name, type }) => [`  ${kind} ${name} {`, `    type ${type}`, '  }']),
    ...chains(links).map((line) => `  ${line}`),
    '}',
    ...SETS.flatMap((set) => setElements(set, filter)),
    ...filter.ports.flatMap(addPort),
    '',
  ].join('\n');
}

/** What brings the table from one filter to another, in one transaction; empty when nothing differs. O(ports). */
export function gatewayRulesUpdate(before: GatewayFilter, after: GatewayFilter): string {
  const lines = SETS.flatMap((set) => {
    const elements = setElements(set, after);
    if (elements.join() === setElements(set, before).join()) return [];
    return [`flush ${set.kind} ${TABLE} ${set.name}`, ...elements];
  });
  const had = new Map(before.ports.map((row) => [portRowKey(row), row]));
  const wanted = new Set(after.ports.map(portRowKey));
  for (const row of before.ports) if (!wanted.has(portRowKey(row))) lines.push(...removePort(row));
  for (const row of after.ports) {
    const earlier = had.get(portRowKey(row));
    if (earlier === undefined) lines.push(...addPort(row));
    else if (translation(earlier) !== translation(row)) {
      lines.push(`flush chain ${TABLE} ${chainOf(row)}`, `add rule ${TABLE} ${chainOf(row)} ${translation(row)}`);
    }
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** What takes the table away, also when there is none. */
export function withoutGatewayRules(): string {
  return `table ${TABLE}\ndelete table ${TABLE}\n`;
}

interface NamedSet {
  kind: 'set' | 'map';
  name: string;
  type: string;
  elements: (filter: GatewayFilter) => string[];
}

const SETS: readonly NamedSet[] = [
  { kind: 'set', name: 'entries', type: 'ipv4_addr', elements: ({ peers }) => entryAddresses(peers) },
  { kind: 'set', name: 'peers', type: 'ether_addr', elements: ({ peers }) => peers.map(({ mac }) => mac) },
  {
    kind: 'map',
    name: 'entry_marks',
    type: 'ether_addr : mark',
    elements: ({ peers }) => peers.map(({ mac, mark }) => `${mac} : ${mark}`),
  },
  { kind: 'set', name: 'confined', type: 'ipv4_addr', elements: ({ confined }) => [...confined] },
];

/** Verdicts refer to chains, so that these come and go with their chains. */
const PORT_MAPS = [
  'map ports {',
  '  type inet_proto . inet_service : verdict',
  '}',
  'map host_ports {',
  '  type ipv4_addr . inet_proto . inet_service : verdict',
  '}',
];

function chains({ bridge, tunnel, hairpin, subnet: { subnet, gateway } }: GatewayLinks): string[] {
  const entryMark = `& ${ENTRY_MARK_MASK} == ${ENTRY_MARK}`;
  return [
    ...PORT_MAPS,
    'chain published {',
    '  ip daddr . meta l4proto . th dport vmap @host_ports',
    '  meta l4proto . th dport vmap @ports',
    '}',
    // Another node's ports are taken in here at once: on the way back from there, a reply to this host's own address
    // would be delivered as it is, before anything could translate it.
    'chain arriving {',
    '  type nat hook prerouting priority dstnat; policy accept;',
    // Tasks ask their host for names, whatever is published.
    `  iifname "${bridge}" ip daddr ${gateway} meta l4proto { tcp, udp } th dport 53 accept`,
    '  fib daddr type local jump published',
    '  ip daddr @entries jump published',
    '}',
    'chain own {',
    '  type nat hook output priority -100; policy accept;',
    '  fib daddr type local jump published',
    '  ip daddr @entries jump published',
    '}',
    // The links take in what has addresses of loopback, for connections of this host's own; from outside nothing has.
    'chain untracked {',
    '  type filter hook prerouting priority raw; policy accept;',
    `  iifname { "${bridge}", "${tunnel}" } ip daddr 127.0.0.0/8 drop`,
    `  iifname { "${bridge}", "${tunnel}" } ip saddr 127.0.0.0/8 drop`,
    `  iifname "${tunnel}" ether saddr != @peers drop`,
    // It is what has been translated already, on its way to where that says.
    `  iifname "${hairpin.in}" notrack`,
    '}',
    'chain marking {',
    '  type filter hook prerouting priority mangle; policy accept;',
    `  iifname "${tunnel}" ct direction original ct mark set ether saddr map @entry_marks`,
    `  iifname "${tunnel}" ct direction original meta mark set ct mark`,
    `  iifname "${bridge}" ct direction reply ct mark ${entryMark} meta mark set ct mark`,
    '}',
    // After the translation, which says whether it is for another task of this host.
    'chain turning {',
    '  type filter hook prerouting priority -90; policy accept;',
    `  iifname "${bridge}" ip daddr ${subnet} ct direction original ct status dnat ct mark set ${HAIRPIN_MARK}`,
    `  iifname "${bridge}" ct mark ${HAIRPIN_MARK} meta mark set ct mark`,
    '}',
    'chain forward {',
    '  type filter hook forward priority filter; policy accept;',
    `  iifname "${hairpin.in}" accept`,
    '  ct direction reply accept',
    '  ct status dnat accept',
    `  iifname "${bridge}" ct state invalid drop`,
    `  iifname "${bridge}" oifname { "${bridge}", "${tunnel}" } drop`,
    `  iifname "${bridge}" ip saddr @confined reject with icmp type net-unreachable`,
    `  iifname "${tunnel}" oifname != "${bridge}" drop`,
    `  iifname != "${tunnel}" oifname "${bridge}" drop`,
    `  oifname "${tunnel}" drop`,
    '}',
    'chain leaving {',
    '  type filter hook postrouting priority mangle; policy accept;',
    `  oifname "${tunnel}" tcp flags syn tcp option maxseg size set rt mtu`,
    // The packet around it must not go the way of the mark.
    `  oifname { "${tunnel}", "${hairpin.out}" } meta mark ${entryMark} meta mark set 0`,
    '}',
    'chain postrouting {',
    '  type nat hook postrouting priority srcnat; policy accept;',
    `  ip saddr 127.0.0.0/8 oifname { "${bridge}", "${tunnel}" } snat ip to ${gateway}`,
    `  ip saddr ${subnet} oifname "${hairpin.out}" snat ip to ${gateway}`,
    `  ip saddr ${subnet} oifname != "${bridge}" masquerade`,
    '}',
  ];
}

function setElements({ name, elements }: NamedSet, filter: GatewayFilter): string[] {
  const all = elements(filter);
  return all.length === 0 ? [] : [`add element ${TABLE} ${name} { ${all.join(', ')} }`];
}

function addPort(row: PortRow): string[] {
  const chain = chainOf(row);
  const { map, key } = placeOf(row);
  return [
    `add chain ${TABLE} ${chain}`,
    `add rule ${TABLE} ${chain} ${translation(row)}`,
    `add element ${TABLE} ${map} { ${key} : goto ${chain} }`,
  ];
}

function removePort(row: PortRow): string[] {
  const { map, key } = placeOf(row);
  return [
    `delete element ${TABLE} ${map} { ${key} }`,
    `flush chain ${TABLE} ${chainOf(row)}`,
    `delete chain ${TABLE} ${chainOf(row)}`,
  ];
}

function placeOf({ protocol, hostAddress, port }: PortRow): { map: string; key: string } {
  if (hostAddress === '') return { map: 'ports', key: `${protocol} . ${port}` };
  return { map: 'host_ports', key: `${hostAddress} . ${protocol} . ${port}` };
}

function chainOf({ protocol, hostAddress, port }: PortRow): string {
  return `${protocol}_${port}${hostAddress === '' ? '' : `_at_${hostAddress.replaceAll('.', '_')}`}`;
}

/** Connections go to one target after the other. */
function translation({ protocol, targets }: PortRow): string {
  const [only] = targets;
  const to =
    targets.length === 1 && only !== undefined
      ? `${only.address}:${only.port}`
      : `numgen inc mod ${targets.length} map { ${targets.map(({ address, port }, i) => `${i} : ${address} . ${port}`).join(', ')} }`;
  return `meta l4proto ${protocol} dnat ip to ${to}`;
}
