import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { ApiaryError } from '@apiary/std';

/** The port of a manager's gRPC, Docker Swarm's own. */
export const DEFAULT_PORT = 2377;

export interface Address {
  host: string;
  port: number;
}

export function formatAddress({ host, port }: Address): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Reads `HOST`, `HOST:PORT`, `[HOST]:PORT`, or an IPv6 address as it is.
 *
 * @param what  the flag that it came by, for the error
 * @throws ApiaryError `invalid-argument`
 */
export function parseAddress(what: string, text: string, defaultPort = DEFAULT_PORT): Address {
  if (isIP(text) === 6) return { host: text, port: defaultPort };
  const [, bracketed, plain, portText] = /^(?:\[([^\]]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = portText === undefined ? defaultPort : Number(portText);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new ApiaryError('invalid-argument', `${what} ${text}: expected ADDRESS or ADDRESS:PORT`);
  }
  return { host, port };
}

/**
 * The address that other nodes reach this one by: what was asked for (an address, or the name of an interface), or
 * this host's only one.
 *
 * @throws ApiaryError `invalid-argument`, with Docker's words when there are several to choose from
 */
export function resolveAdvertiseAddr(asked: string | undefined): Address {
  if (asked !== undefined && asked !== '') {
    const { host, port } = parseAddress('advertise address', asked);
    return { host: isIP(host) === 0 ? addressOfInterface(host) : host, port };
  }
  const found = hostAddresses();
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
  return { host: first, port: DEFAULT_PORT };
}

function addressOfInterface(name: string): string {
  const address = (networkInterfaces()[name] ?? []).find(({ family }) => family === 'IPv4')?.address;
  if (address === undefined) {
    throw new ApiaryError(
      'invalid-argument',
      `advertise address "${name}" is neither an IP address nor an interface of this host with an IPv4 address`,
    );
  }
  return address;
}

/** IPv4 addresses of this host that are not loopback and not an engine's bridge. */
function hostAddresses(): string[] {
  return Object.entries(networkInterfaces())
    .filter(([name]) => !/^(docker\d|br-|veth)/.test(name))
    .flatMap(([, addresses]) => addresses ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address);
}
