import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { CLUSTER_PORT, parseHostPort } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';

/**
 * The address that other nodes reach this one by: what was asked for (an address, or the name of an interface), or
 * this host's only one.
 *
 * @throws ApiaryError `invalid-argument`, with Docker's words when there are several to choose from
 */
export function resolveAdvertiseAddr(asked: string | undefined): { host: string; port: number } {
  if (asked !== undefined && asked !== '') {
    const { host, port } = parseHostPort(asked, 'advertise address');
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
  return { host: first, port: CLUSTER_PORT };
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
