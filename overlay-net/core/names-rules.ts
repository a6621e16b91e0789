/** Where the engine's own resolver is asked, inside of each container's network namespace. */
export const ENGINE_RESOLVER = '127.0.0.11';
/** Where ours is there, and where it asks the engine's from. */
export const NAMES_ADDRESS = '127.0.0.12';

const TABLE = 'ip apiary';

/**
 * What brings a container's questions to us before the engine's resolver, which has rules of the same kind at -100. They
 * take the place of what an earlier process left.
 */
export function namesRules({ udpPort, tcpPort }: { udpPort: number; tcpPort: number }): string {
  const asked = `ip daddr ${ENGINE_RESOLVER} ip saddr != ${NAMES_ADDRESS}`;
  return `add table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
  chain names {
    type nat hook output priority -110; policy accept;
    ${asked} udp dport 53 dnat to ${NAMES_ADDRESS}:${udpPort}
    ${asked} tcp dport 53 dnat to ${NAMES_ADDRESS}:${tcpPort}
  }
}
`;
}
