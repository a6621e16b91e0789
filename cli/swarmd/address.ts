import { isIP } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { CLUSTER_PORT, parseHostPort } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';

/** This host's interfaces and their addresses, as `os.networkInterfaces()` tells them. */
export type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>;

/**
 * The address that other nodes reach this one by: what was asked for (an address, or the name of an interface), or
 * this host's only one.
 *
 * @throws ApiaryError `invalid-argument`, with Docker's words when there are several to choose from
 */
export function resolveAdvertiseAddr(
  asked: string | undefined,
  interfaces: Interfaces = networkInterfaces(),
): { host: string; port: number } {
  if (asked !== undefined && asked !== '') {
    const address = resolveAddr(asked, 'advertise address', interfaces);
    if (isWildcard(address.host)) {
      throw new ApiaryError(
        'invalid-argument',
        'advertise address must be a non-zero IP address or network interface (with optional port number)',
      );
    }
    return address;
  }
  const found = hostAddresses(interfaces);
  const [first, second] = found;
  if (first === undefined) {
    throw new ApiaryError(
      'invalid-argument',
      "could not find the system's IP address - specify one with --advertise-addr",
    );
  }
  if (second !== undefined) {
    throw new ApiaryError(
      'invalid-argument',
      'could not choose an IP address to advertise since this system has multiple addresses ' +
        `(${found.join(', ')}) - specify one with --advertise-addr`,
    );
  }
  return { host: first, port: CLUSTER_PORT };
}

/**
 * Where this node's manager listens for the others: an address, or the name of an interface, with an optional port.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function resolveListenAddr(
  asked: string | undefined,
  interfaces: Interfaces = networkInterfaces(),
): { host: string; port: number } {
  return resolveAddr(asked || '0.0.0.0', 'listen address', interfaces);
}

/**
 * Where what is sent between hosts comes from and goes to: an address, or the name of an interface; undefined when it is the
 * advertised one.
 *
 * @throws ApiaryError `invalid-argument`, with Docker's words for what no other host could send to
 */
export function resolveDataPathAddr(
  asked: string | undefined,
  interfaces: Interfaces = networkInterfaces(),
): string | undefined {
  if (asked === undefined || asked === '') return undefined;
  const isAddress = isIP(asked) !== 0;
  if (isAddress ? isWildcard(asked) : asked.includes(':')) {
    const words = 'data path address must be a non-zero IP address or network interface (without a port number)';
    throw new ApiaryError('invalid-argument', words);
  }
  return isAddress ? asked : addressOfInterface(asked, 'data path address', interfaces);
}

/** Whether `host` is an address of this host's own. */
export function isLocalAddress(host: string, interfaces: Interfaces = networkInterfaces()): boolean {
  return Object.values(interfaces).some((addresses) => addresses?.some(({ address }) => address === host));
}

/**
 * Where a manager that listens there is reached from its own host. The advertised address need not lead back to it:
 * it may be that of a router in front of this host.
 */
export function localAddr(listen: { host: string; port: number }): { host: string; port: number } {
  if (!isWildcard(listen.host)) return listen;
  return { host: isIP(listen.host) === 6 ? '::1' : '127.0.0.1', port: listen.port };
}

function isWildcard(host: string): boolean {
  return isIP(host) !== 0 && /^[0:.]+$/.test(host);
}

function resolveAddr(asked: string, what: string, interfaces: Interfaces): { host: string; port: number } {
  const { host, port } = parseHostPort(asked, what);
  if (port === 0) {
    throw new ApiaryError('invalid-argument', `invalid ${what} "${asked}": port 0 is none that others could call`);
  }
  return { host: isIP(host) === 0 ? addressOfInterface(host, what, interfaces) : host, port };
}

function addressOfInterface(name: string, what: string, interfaces: Interfaces): string {
  const address = ipv4Of(name, interfaces);
  if (address === undefined) {
    throw new ApiaryError(
      'invalid-argument',
      `${what} "${name}" is neither an IP address nor an interface of this host with an IPv4 address`,
    );
  }
  return address;
}

/** The IPv4 address of the interface of that name. */
export function ipv4Of(name: string, interfaces: Interfaces): string | undefined {
  return (interfaces[name] ?? []).find(({ family }) => family === 'IPv4')?.address;
}

/** IPv4 addresses of this host that are not loopback, and of no network that an engine or we have made. */
export function hostAddresses(interfaces: Interfaces): string[] {
  return Object.entries(interfaces)
    .filter(([name]) => !/^(docker\d|docker_gwbridge$|br-|veth|apiary_|apgw)/.test(name))
    .flatMap(([, addresses]) => addresses ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address);
}
