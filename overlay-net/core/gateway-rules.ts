import { ipv6EntryAddresses, ipv6GatewayAddress, ipv6GatewaySubnet } from './gateway-ipv6.js';
import { ENTRY_MARK, ENTRY_MARK_MASK, entryAddresses, type GatewayPeer } from './gateway-peers.js';
import type { GatewaySubnet } from './gateway-subnet.js';
import { type PortRow, type PortTarget, portRowKey } from './published-ports.js';

/** The one nftables table that is ours; its family is `inet`. */
export const TABLE_NAME = 'apiary';
export const TABLE = `inet ${TABLE_NAME}`;

/**
 * The groups (`ip link show group 9701`) of what the rules are about: the host's ends of its tasks' links, the tunnel to other
 * hosts, and the link to the name server. A packet's group is compared as a number, where its link's name would be copied first, and compared as text.
 */
export const LINK_GROUPS = { tasks: 9701, tunnel: 9702, names: 9703 } as const;

/** What changes of the table while it is there. */
export interface GatewayFilter {
  peers: readonly GatewayPeer[];
  /** UDP, that hosts send each other the packets of tasks to. */
  dataPathPort: number;
  ports: readonly PortRow[];
  /** Addresses of the tasks that have no way out. */
  confined: readonly string[];
  /** Left out on a host whose gateway network has IPv4 alone. */
  ipv6?: 'open' | 'own-only';
}

export const NO_FILTER: GatewayFilter = { peers: [], dataPathPort: 0, ports: [], confined: [] };

/**
 * What makes the table as it should be, in one transaction, whatever it was before; connections go on.
 *
 * Published ports lead to tasks without the client's address being changed; replies to what came in by way of another host
 * are marked for the way back. What tasks send leaves the host under the host's address. They reach each other only by what
 * is published.
 */
export function gatewayRules(subnet: GatewaySubnet, filter: GatewayFilter): string {
  return [
    `table ${TABLE}`,
    `delete table ${TABLE}`,
    `table ${TABLE} {`,
    ...setsOf(filter).flatMap(({ kind, name, of }) => [`  ${kind} ${name} {`, `    ${of}`, '  }']),
    ...chains(subnet, filter).map((line) => `  ${line}`),
    '}',
    ...setsOf(filter).flatMap((set) => setElements(set, filter)),
    ...portsOf(filter)
      .flatMap((row) => addPort(row, filter))
      .map(nftLine),
    '',
  ].join('\n');
}

/**
 * What brings the table from one filter to another, in one transaction; empty when nothing differs. O(ports).
 *
 * @param after  as to `ipv6` the same: else the table has to be written anew
 */
export function gatewayRulesUpdate(before: GatewayFilter, after: GatewayFilter): string {
  const lines = setsOf(after).flatMap((set) => {
    const elements = setElements(set, after);
    if (elements.join() === setElements(set, before).join()) return [];
    return [`flush ${set.kind} ${TABLE} ${set.name}`, ...elements];
  });
  lines.push(...portChanges(before, after).map(nftLine));
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/**
 * The same as data, for where only ports differ, as they do with each task that comes or goes.
 *
 * @returns undefined when more than that differs
 */
export function gatewayPortChanges(before: GatewayFilter, after: GatewayFilter): PortChange[] | undefined {
  if (before.ipv6 !== after.ipv6) return undefined;
  const isSame = setsOf(after).every((set) => setElements(set, before).join() === setElements(set, after).join());
  return isSame ? portChanges(before, after) : undefined;
}

/** What takes the table away, also when there is none. */
export function withoutGatewayRules(): string {
  return `table ${TABLE}\ndelete table ${TABLE}\n`;
}

/** The bits of an entry's mark that are its number. */
const ZONE_MASK = 0xffff;

interface NamedSet {
  kind: 'set' | 'map';
  name: string;
  /** Of its elements, as nft takes it. */
  of: string;
  elements: (filter: GatewayFilter) => string[];
}

const SETS: readonly NamedSet[] = [
  { kind: 'set', name: 'entries', of: 'type ipv4_addr', elements: ({ peers }) => entryAddresses(peers) },
  {
    kind: 'set',
    name: 'data_path',
    of: 'type inet_service',
    elements: ({ dataPathPort }) => (dataPathPort === 0 ? [] : [`${dataPathPort}`]),
  },
  { kind: 'set', name: 'peers', of: 'type ether_addr', elements: ({ peers }) => peers.map(({ mac }) => mac) },
  {
    kind: 'map',
    name: 'entry_marks',
    of: 'type ether_addr : mark',
    elements: ({ peers }) => peers.map(({ mac, mark }) => `${mac} : ${mark}`),
  },
  {
    kind: 'map',
    name: 'entry_zones',
    of: 'typeof ether saddr : ct zone',
    elements: ({ peers }) => peers.map(({ mac, mark }) => `${mac} : ${mark & ZONE_MASK}`),
  },
  { kind: 'set', name: 'confined', of: 'type ipv4_addr', elements: ({ confined }) => [...confined] },
];

const IPV6_SETS: readonly NamedSet[] = [
  { kind: 'set', name: 'entries6', of: 'type ipv6_addr', elements: ({ peers }) => ipv6EntryAddresses(peers) },
  {
    kind: 'set',
    name: 'confined6',
    of: 'type ipv6_addr',
    elements: ({ confined }) => confined.map(ipv6GatewayAddress),
  },
];

/** Nobody comes by an address of IPv6 that a host without it cannot have. */
function portsOf({ ports, ipv6 }: GatewayFilter): readonly PortRow[] {
  return ipv6 === undefined ? ports.filter(({ hostAddress }) => !hostAddress.includes(':')) : ports;
}

function setsOf({ ipv6 }: GatewayFilter): readonly NamedSet[] {
  return ipv6 === undefined ? SETS : [...SETS, ...IPV6_SETS];
}

/** Verdicts refer to chains, so that these come and go with their chains. */
const PORT_MAPS = [
  'map ports {',
  '  type inet_proto . inet_service : verdict',
  '}',
  'map host_ports {',
  '  type ipv4_addr . inet_proto . inet_service : verdict',
  '}',
];

const IPV6_PORT_MAPS = ['map host_ports6 {', '  type ipv6_addr . inet_proto . inet_service : verdict', '}'];

/** What is of IPv6 comes after what is of IPv4, which is more. */
function chains({ subnet, gateway, names: nameServer }: GatewaySubnet, { ipv6 }: GatewayFilter): string[] {
  const of6 = (...lines: string[]) => (ipv6 === undefined ? [] : lines);
  const [subnet6, gateway6] = [ipv6GatewaySubnet(subnet), ipv6GatewayAddress(gateway)];
  const { tasks, tunnel, names } = LINK_GROUPS;
  const entryMark = `& ${ENTRY_MARK_MASK} == ${ENTRY_MARK}`;
  return [
    ...PORT_MAPS,
    ...of6(...IPV6_PORT_MAPS),
    'chain published {',
    '  ip daddr . meta l4proto . th dport vmap @host_ports',
    // Who has an address of the link alone is not answered through another.
    ...of6('  ip6 daddr fe80::/10 return', '  ip6 daddr . meta l4proto . th dport vmap @host_ports6'),
    '  meta l4proto . th dport vmap @ports',
    '}',
    // Another node's ports are taken in here at once: on the way back from there, a reply to this host's own address
    // would be delivered as it is, before anything could translate it.
    'chain arriving {',
    '  type nat hook prerouting priority dstnat; policy accept;',
    // Tasks ask their host for names, whatever is published: they are led past what a firewall says of the host's own.
    `  iifgroup ${tasks} ip daddr ${gateway} meta l4proto { tcp, udp } th dport 53 dnat ip to ${nameServer}`,
    '  fib daddr type local jump published',
    '  ip daddr @entries jump published',
    ...of6('  ip6 daddr @entries6 jump published'),
    '}',
    'chain own {',
    '  type nat hook output priority -100; policy accept;',
    '  fib daddr type local jump published',
    '  ip daddr @entries jump published',
    ...of6('  ip6 daddr @entries6 jump published'),
    '}',
    // The links take in what has addresses of loopback, for connections of this host's own; from outside nothing has.
    'chain no_loopback {',
    '  ip daddr 127.0.0.0/8 drop',
    '  ip saddr 127.0.0.0/8 drop',
    '}',
    'chain from_host {',
    '  ether saddr != @peers drop',
    // A client may have one port for connections to several hosts, which lead to one task: here they would be one. So each
    // entry's are apart, and where two have the same addresses and ports for the task, conntrack gives one another port.
    // What is for nobody here is a reply, which would be looked for in that zone first, in vain.
    `  ip daddr ${subnet} ct original zone set ether saddr map @entry_zones`,
    ...of6(`  ip6 daddr ${subnet6} ct original zone set ether saddr map @entry_zones`),
    '  jump no_loopback',
    '}',
    // Each packet between tasks is known to conntrack by itself; the one around it would be once more, and cannot be a reply.
    'chain untracked {',
    '  type filter hook prerouting priority raw; policy accept;',
    `  iifgroup vmap { ${tasks} : goto no_loopback, ${tunnel} : goto from_host }`,
    '  udp dport @data_path ip saddr @entries notrack',
    '}',
    'chain own_untracked {',
    '  type filter hook output priority raw; policy accept;',
    '  udp dport @data_path ip daddr @entries notrack',
    '}',
    'chain mark_task {',
    `  ct direction reply ct mark ${entryMark} meta mark set ct mark`,
    '}',
    'chain mark_host {',
    '  ct direction reply return',
    '  ct mark set ether saddr map @entry_marks',
    '  meta mark set ct mark',
    '}',
    'chain marking {',
    '  type filter hook prerouting priority mangle; policy accept;',
    `  iifgroup vmap { ${tasks} : goto mark_task, ${tunnel} : goto mark_host }`,
    '}',
    'chain forward_task {',
    '  ct state invalid drop',
    `  oifgroup { ${tasks}, ${tunnel}, ${names} } drop`,
    '  ip saddr @confined reject with icmp type net-unreachable',
    ...of6('  ip6 saddr @confined6 reject with icmpv6 type no-route'),
    '}',
    'chain forward_host {',
    `  oifgroup != ${tasks} drop`,
    '}',
    'chain forward {',
    '  type filter hook forward priority filter; policy accept;',
    '  ct direction reply accept',
    '  ct status dnat accept',
    `  iifgroup vmap { ${tasks} : goto forward_task, ${tunnel} : goto forward_host }`,
    `  oifgroup { ${tasks}, ${tunnel}, ${names} } drop`,
    // It forwards IPv6 for its tasks: between its other links it did not before.
    // Frames within a bridge, which come by here where there is br_netfilter, need no forwarding.
    ...(ipv6 === 'own-only'
      ? ['iifkind', 'oifkind'].map((kind) => `  meta nfproto ipv6 meta ${kind} != "bridge" drop`)
      : []),
    '}',
    'chain to_host {',
    '  tcp flags syn tcp option maxseg size set rt mtu',
    // The packet around it must not go the way of the mark.
    `  meta mark ${entryMark} meta mark set 0`,
    '}',
    'chain leaving {',
    '  type filter hook postrouting priority mangle; policy accept;',
    `  oifgroup ${tunnel} goto to_host`,
    '}',
    'chain postrouting {',
    '  type nat hook postrouting priority srcnat; policy accept;',
    `  ip saddr 127.0.0.0/8 oifgroup { ${tasks}, ${tunnel} } snat ip to ${gateway}`,
    // A task of this host, to whose own address it would not answer by way of the host, or to itself.
    `  ip saddr ${subnet} oifgroup ${tasks} snat ip to ${gateway}`,
    // Who asks for names is known by its address.
    `  ip saddr ${subnet} oifgroup != { ${tasks}, ${names} } masquerade`,
    ...of6(
      `  ip6 saddr ::1 oifgroup { ${tasks}, ${tunnel} } snat ip6 to ${gateway6}`,
      `  ip6 saddr ${subnet6} oifgroup ${tasks} snat ip6 to ${gateway6}`,
      `  ip6 saddr ${subnet6} oifgroup != ${tasks} masquerade`,
    ),
    '}',
  ];
}

function setElements({ name, elements }: NamedSet, filter: GatewayFilter): string[] {
  const all = elements(filter);
  return all.length === 0 ? [] : [`add element ${TABLE} ${name} { ${all.join(', ')} }`];
}

/** One change of what is there for a port: its chain, the rule in it, and the element of a map that leads there. */
export type PortChange =
  | { do: 'add-chain' | 'flush-chain' | 'delete-chain'; chain: string }
  | { do: 'add-translation'; chain: string; protocol: string; targets: readonly PortTarget[] }
  | { do: 'add-goto'; map: string; key: PortKey; chain: string }
  | { do: 'delete-goto'; map: string; key: PortKey };

type PortKey = Pick<PortRow, 'hostAddress' | 'protocol' | 'port'>;

function portChanges(before: GatewayFilter, after: GatewayFilter): PortChange[] {
  const had = new Map(portsOf(before).map((row) => [portRowKey(row), row]));
  const wanted = new Set(portsOf(after).map(portRowKey));
  const gone = portsOf(before)
    .filter((row) => !wanted.has(portRowKey(row)))
    .flatMap(removePort);
  const changed = portsOf(after).flatMap((row) => {
    const earlier = had.get(portRowKey(row));
    if (earlier === undefined) return addPort(row, after);
    const rules = translations(row, after);
    const isSame = translations(earlier, before).map(nftLine).join() === rules.map(nftLine).join();
    return isSame ? [] : [{ do: 'flush-chain' as const, chain: chainOf(row) }, ...rules];
  });
  return [...gone, ...changed];
}

function addPort(row: PortRow, filter: GatewayFilter): PortChange[] {
  const chain = chainOf(row);
  return [{ do: 'add-chain', chain }, ...translations(row, filter), { do: 'add-goto', ...placeOf(row), chain }];
}

function removePort(row: PortRow): PortChange[] {
  const chain = chainOf(row);
  return [
    { do: 'delete-goto', ...placeOf(row) },
    { do: 'flush-chain', chain },
    { do: 'delete-chain', chain },
  ];
}

function placeOf({ protocol, hostAddress, port }: PortRow): { map: string; key: PortKey } {
  const map = hostAddress.includes(':') ? 'host_ports6' : 'host_ports';
  return { map: hostAddress === '' ? 'ports' : map, key: { hostAddress, protocol, port } };
}

function chainOf({ protocol, hostAddress, port }: PortRow): string {
  return `${protocol}_${port}${hostAddress === '' ? '' : `_at_${hostAddress.replaceAll(/[.:]/g, '_')}`}`;
}

/** Connections go to one target after the other. */
function translations(row: PortRow, { ipv6 }: GatewayFilter): PortChange[] {
  const { protocol, hostAddress, targets } = row;
  const to = (all: PortTarget[]): PortChange => {
    return { do: 'add-translation', chain: chainOf(row), protocol, targets: all };
  };
  const rules: PortChange[] = [];
  if (!hostAddress.includes(':')) rules.push(to(targets.map(({ address, port }) => ({ address, port }))));
  const of6 = targets.flatMap(({ ipv6Address = '', port }) =>
    ipv6Address === '' ? [] : [{ address: ipv6Address, port }],
  );
  if (ipv6 !== undefined && of6.length > 0 && !hostAddress.includes('.')) rules.push(to(of6));
  return rules;
}

function nftLine(change: PortChange): string {
  switch (change.do) {
    case 'add-translation':
      return `add rule ${TABLE} ${change.chain} meta l4proto ${change.protocol} dnat ${nftTargets(change.targets)}`;
    case 'add-goto':
      return `add element ${TABLE} ${change.map} { ${nftKey(change.key)} : goto ${change.chain} }`;
    case 'delete-goto':
      return `delete element ${TABLE} ${change.map} { ${nftKey(change.key)} }`;
    default:
      return `${change.do.replace('-', ' ')} ${TABLE} ${change.chain}`;
  }
}

function nftTargets(targets: readonly PortTarget[]): string {
  const [only] = targets;
  const isIpv6 = only?.address.includes(':') === true;
  const to = isIpv6 ? 'ip6 to' : 'ip to';
  if (targets.length === 1 && only !== undefined) {
    return `${to} ${isIpv6 ? `[${only.address}]` : only.address}:${only.port}`;
  }
  const elements = targets.map(({ address, port }, i) => `${i} : ${address} . ${port}`);
  return `${to} numgen inc mod ${targets.length} map { ${elements.join(', ')} }`;
}

function nftKey({ hostAddress, protocol, port }: PortKey): string {
  return `${hostAddress === '' ? '' : `${hostAddress} . `}${protocol} . ${port}`;
}
