import { ApiaryError } from '@apiary/std';

/** Where a daemon listens: a unix socket's path, or a TCP host and port. */
export type HostAddress = { socketPath: string } | { host: string; port: number };

/** The port of the API on TCP, when an address names none (IANA: docker). */
const DEFAULT_PORT = 2375;

/**
 * Reads `unix:///PATH`, `tcp://HOST[:PORT]` or `http://HOST[:PORT]`, as `--host` and `SWARM_HOST` have it.
 *
 * @throws ApiaryError `invalid-argument` for any other form
 */
export function parseHostAddress(text: string, defaultPort = DEFAULT_PORT): HostAddress {
  const [, scheme, rest = ''] = /^([a-z]+):\/\/(.*)$/.exec(text) ?? [];
  if (scheme === 'unix' && rest.startsWith('/')) return { socketPath: rest };
  if (scheme === 'tcp' || scheme === 'http') {
    const [, bracketed, plain, port] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:/[\]]+))(?::(\d{1,5}))?\/?$/.exec(rest) ?? [];
    const host = bracketed ?? plain;
    const number = port === undefined ? defaultPort : Number(port);
    if (host !== undefined && number > 0 && number < 65_536) return { host, port: number };
  }
  throw new ApiaryError('invalid-argument', `invalid host address "${text}": expected unix:///PATH or tcp://HOST:PORT`);
}
