import type { GatewaySubnet } from './gateway-subnet.js';

/** The one nftables table that is ours. */
export const TABLE = 'inet apiary';

/**
 * What makes the table as it should be, in one transaction, whatever it was before; connections go on.
 *
 * What tasks send leaves the host under the host's address. Ports of the bridge are isolated from one another, and what a
 * task sends to another by way of its host is dropped.
 */
export function gatewayRules(bridge: string, { subnet }: GatewaySubnet): string {
  return [
    `table ${TABLE}`,
    `delete table ${TABLE}`,
    `table ${TABLE} {`,
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    `    ip saddr ${subnet} oifname != "${bridge}" masquerade`,
    '  }',
    '  chain forward {',
    '    type filter hook forward priority filter; policy accept;',
    `    iifname "${bridge}" oifname "${bridge}" drop`,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** What takes the table away, also when there is none. */
export function withoutGatewayRules(): string {
  return `table ${TABLE}\ndelete table ${TABLE}\n`;
}
