import type { NetworkState } from './network-state.js';

/** Beside the port of what is sent in the clear: one number to open in firewalls leads to the other. */
export function tunnelPort(dataPathPort: number): number {
  return dataPathPort + 1;
}

/** What WireGuard is to have: this host's keys apart. */
export interface TunnelConfig {
  /** The address that the other hosts know this one by, within the tunnel as without. */
  address: string;
  port: number;
  peers: TunnelPeer[];
}

export interface TunnelPeer {
  publicKey: string;
  address: string;
}

/**
 * The tunnel between this host and every other that has a key. Undefined while this host's own address is not known.
 * A host without a key is in no tunnel: nothing is sent to it, and nothing taken from it.
 */
export function tunnelConfig({ selfId, nodes, dataPathPort }: NetworkState): TunnelConfig | undefined {
  const self = nodes.get(selfId);
  if (self === undefined || self.addr === '') return undefined;
  const peers = [...nodes.values()]
    .filter(({ nodeId, addr, wireguardKey }) => nodeId !== selfId && addr !== '' && wireguardKey !== '')
    .map(({ addr, wireguardKey }) => ({ publicKey: wireguardKey, address: addr }))
    .sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1));
  return { address: self.addr, port: tunnelPort(dataPathPort), peers };
}

/**
 * The same as wg(8) takes it.
 *
 * @param keepaliveSeconds  how long nothing was sent to one of the others until something is; by default for ever
 */
export function tunnelFile(
  { port, peers }: TunnelConfig,
  privateKey: string,
  { keepaliveSeconds = 0 }: { keepaliveSeconds?: number } = {},
): string {
  const keepalive = keepaliveSeconds > 0 ? `PersistentKeepalive = ${keepaliveSeconds}\n` : '';
  const lines = peers.map(({ publicKey, address }) => {
    const isIpv6 = address.includes(':');
    const endpoint = isIpv6 ? `[${address}]:${port}` : `${address}:${port}`;
    return `[Peer]\nPublicKey = ${publicKey}\nAllowedIPs = ${address}/${isIpv6 ? 128 : 32}\nEndpoint = ${endpoint}\n${keepalive}`;
  });
  return [`[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${port}\n`, ...lines].join('\n');
}

/** What `wg show LINK dump` says of it. */
export interface TunnelFacts {
  privateKey: string;
  publicKey: string;
  port: number;
  peers: TunnelPeer[];
}

export function readTunnelDump(text: string): TunnelFacts {
  const [own = '', ...others] = text.trimEnd().split('\n');
  const [privateKey = '', publicKey = '', port] = own.split('\t');
  const peers = others.map((line) => {
    const [key = '', , , allowed = ''] = line.split('\t');
    return { publicKey: key, address: allowed.replace(/\/\d+$/, '') };
  });
  return {
    privateKey,
    publicKey,
    port: Number(port),
    peers: peers.sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
  };
}

/** Whether WireGuard has what it should. Where the others are it finds out itself, once it was told. */
export function isTunnelAs(config: TunnelConfig, privateKey: string, facts: TunnelFacts): boolean {
  const same = JSON.stringify(config.peers) === JSON.stringify(facts.peers);
  return same && config.port === facts.port && facts.privateKey === privateKey;
}
