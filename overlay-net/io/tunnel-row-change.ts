import type { Change, Link, Netlink } from '@apiary/agent-native';
import { ENTRY_MARK, ENTRY_MARK_MASK, isEntryTable, MAIN_TABLE, RULE_PRIORITY, type TunnelRow } from '../core/index.js';
import { GATEWAY_PROTOCOL, GATEWAY_TUNNEL } from './kernel-names.js';

type Family = 'ipv4' | 'ipv6';

/** The rows of rules that are there. */
export async function presentRules(netlink: Netlink, family: Family): Promise<TunnelRow[]> {
  const rules = (await netlink.rules({ family })).filter(({ protocol }) => protocol === GATEWAY_PROTOCOL);
  return rules.map(({ action, inputLink, priority = 0, mark = 0, table }): TunnelRow => {
    if (action === 'goto' && inputLink !== undefined) return { kind: 'inbound', priority };
    if (action === 'goto') return { kind: 'pass', priority };
    if (action === 'nop') return { kind: 'landing', priority };
    return { kind: 'rule', priority, mark, table };
  });
}

/** What there is of rows that could be ours. Without the device there are rules alone: the others go with it. */
export async function presentRows(netlink: Netlink, family: Family, tunnel: Link | undefined): Promise<TunnelRow[]> {
  const rows = await presentRules(netlink, family);
  if (tunnel === undefined) return rows;
  const at = { family, link: tunnel.index };
  for (const { address, mac = '', state } of await netlink.neighbours(at)) {
    rows.push({ kind: 'neighbour', address, mac: state === 'permanent' ? mac : '' });
  }
  // The device has one table of these for both.
  if (family === 'ipv4') {
    for (const { mac, destination = '' } of await netlink.fdb({ link: tunnel.index })) {
      rows.push({ kind: 'fdb', mac, destination });
    }
  }
  // Of IPv6 the kernel makes some itself, by each link.
  const routes = await netlink.routes(family === 'ipv6' ? { ...at, protocol: GATEWAY_PROTOCOL } : at);
  for (const { destination, gateway = '', table, source = '' } of routes) {
    if (table !== MAIN_TABLE && !isEntryTable(table)) continue;
    rows.push({ kind: 'route', destination, gateway, table, source });
  }
  return rows;
}

/** What adds a row to the kernel, or takes it away. */
export function tunnelRowChange(how: 'add' | 'delete', row: TunnelRow, family: Family): Change {
  const link = GATEWAY_TUNNEL;
  switch (row.kind) {
    case 'neighbour': {
      const { address, mac } = row;
      if (how === 'delete') return { do: 'delete-neighbour', neighbour: { link, address } };
      // In the place of one that the kernel is looking for.
      return { do: 'add-neighbour', neighbour: { link, address, mac, isReplacing: true } };
    }
    case 'fdb': {
      const { mac, destination } = row;
      return { do: `${how}-fdb`, fdb: { link, mac, destination, table: 'self' } };
    }
    case 'route': {
      const { destination, gateway, table, source } = row;
      const route = { destination, family, table, link } as const;
      if (how === 'delete') return { do: 'delete-route', route };
      const from = source === '' ? {} : { source };
      return { do: 'add-route', route: { ...route, gateway, isOnLink: true, protocol: GATEWAY_PROTOCOL, ...from } };
    }
    case 'rule': {
      const { priority, mark, table } = row;
      const rule = {
        family,
        priority,
        mark,
        table,
        protocol: GATEWAY_PROTOCOL,
      } as const;
      return { do: `${how}-rule`, rule };
    }
    case 'pass':
      return {
        do: `${how}-rule`,
        rule: {
          family,
          priority: row.priority,
          isInverted: true,
          mark: ENTRY_MARK,
          markMask: ENTRY_MARK_MASK,
          action: 'goto',
          gotoPriority: RULE_PRIORITY.landing,
          protocol: GATEWAY_PROTOCOL,
        },
      };
    case 'inbound':
      return {
        do: `${how}-rule`,
        rule: {
          family,
          priority: row.priority,
          inputLink: GATEWAY_TUNNEL,
          action: 'goto',
          gotoPriority: RULE_PRIORITY.landing,
          protocol: GATEWAY_PROTOCOL,
        },
      };
    case 'landing':
      return {
        do: `${how}-rule`,
        rule: { family, priority: row.priority, action: 'nop', protocol: GATEWAY_PROTOCOL },
      };
  }
}
