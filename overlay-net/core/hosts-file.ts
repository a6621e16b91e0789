export interface HostEntry {
  name: string;
  address: string;
}

/** Docker's first lines of every container's /etc/hosts. */
const LOOPBACK_LINES = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'ff00::0\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
];

/** What Docker's `--add-host NAME:host-gateway` stands for: the address by which containers reach their host. */
const HOST_GATEWAY = 'host-gateway';

export interface HostsFile {
  /** The container's own, a line each. */
  addresses: readonly string[];
  hostname: string;
  /** By which the container reaches its host. */
  gateway: string;
  extra: readonly HostEntry[];
}

/** A container's /etc/hosts, line by line as Docker 20.10 writes it. A hostname with dots is also known by its first part. */
export function hostsFile({ addresses, hostname, gateway, extra }: HostsFile): string {
  const [first = '', ...rest] = hostname.split('.');
  const extraLines = extra.map(({ name, address: to }) => `${to === HOST_GATEWAY ? gateway : to}\t${name}`);
  const names = rest.length > 0 ? `${hostname} ${first}` : hostname;
  return `${[...LOOPBACK_LINES, ...extraLines, ...addresses.map((each) => `${each}\t${names}`)].join('\n')}\n`;
}
