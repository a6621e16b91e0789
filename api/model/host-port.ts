import { ApiaryError } from '@apiary/std';

/** The port on which managers listen for nodes, as Docker has it. */
export const CLUSTER_PORT = 2377;

const FORM = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:/[\]\s]+))(?::(\d{1,5}))?$/;

/**
 * Reads `HOST`, `HOST:PORT` or `[IPv6]:PORT`, as `--listen-addr` and `swarmctl join` have it. Without a port it is
 * the cluster's own; port 0, to listen on, is any free one.
 *
 * @param what  what the address is for, in the words of the user: `listen address`
 * @throws ApiaryError `invalid-argument` for any other form
 */
export function parseHostPort(text: string, what: string): { host: string; port: number } {
  const [, bracketed, plain, digits] = FORM.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = digits === undefined ? CLUSTER_PORT : Number(digits);
  if (host === undefined || port > 65_535) {
    throw new ApiaryError('invalid-argument', `invalid ${what} "${text}": expected HOST[:PORT] or [IPv6]:PORT`);
  }
  return { host, port };
}

/** Writes an address so that `parseHostPort` reads it. */
export function formatHostPort({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
