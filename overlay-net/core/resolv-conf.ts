/** What a container asks for of its resolver; what is empty is the host's. */
export interface DnsWishes {
  nameservers: readonly string[];
  search: readonly string[];
  options: readonly string[];
}

/** Docker's, for a host that has none that a container can reach. */
const PUBLIC_NAMESERVERS = ['8.8.8.8', '8.8.4.4'];

/**
 * A container's /etc/resolv.conf by the rules of Docker 20.10, for a container without IPv6. When nothing is asked for it
 * is the host's, but for name servers that cannot be reached from inside: those on the host's loopback, and over IPv6.
 * If none is left, there are public ones.
 *
 * @param host  the host's own file
 */
export function resolvConf(host: string, wishes: DnsWishes): string {
  const isAsked = wishes.nameservers.length + wishes.search.length + wishes.options.length > 0;
  const lines = host.split('\n').filter((line) => !isUnreachable(line));
  const nameservers = lines.flatMap(nameserverOf);
  if (!isAsked) {
    const text = lines.join('\n').replace(/\n*$/, '\n');
    if (nameservers.length > 0) return text;
    return `${text === '\n' ? '' : text}${PUBLIC_NAMESERVERS.map((address) => `nameserver ${address}\n`).join('')}`;
  }
  const own = nameservers.length > 0 ? nameservers : PUBLIC_NAMESERVERS;
  const search = orElse(wishes.search, lastOf(lines, /^\s*(?:search|domain)\s+(.*)$/));
  const options = orElse(wishes.options, lastOf(lines, /^\s*options\s+(.*)$/));
  const written = [
    // A single dot: no search at all.
    ...(search.length > 0 && search.join(' ') !== '.' ? [`search ${search.join(' ')}`] : []),
    ...orElse(wishes.nameservers, own).map((address) => `nameserver ${address}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ];
  return `${written.join('\n')}\n`;
}

/**
 * Whether the host runs systemd-resolved and nothing else: its /etc/resolv.conf names only the stub on loopback then, and
 * /run/systemd/resolve/resolv.conf the name servers behind it.
 */
export function isResolvedStub(host: string): boolean {
  const nameservers = host.split('\n').flatMap(nameserverOf);
  return nameservers.length === 1 && nameservers[0] === '127.0.0.53';
}

function nameserverOf(line: string): string[] {
  const [, address] = /^\s*nameserver\s+(\S+)/.exec(line) ?? [];
  return address === undefined ? [] : [address];
}

function isUnreachable(line: string): boolean {
  return nameserverOf(line).some((address) => address.startsWith('127.') || address.includes(':'));
}

/** The words of the last line that matches: the one that counts. */
function lastOf(lines: readonly string[], pattern: RegExp): string[] {
  const said = lines.flatMap((line) => pattern.exec(line)?.[1] ?? []).at(-1);
  return said === undefined ? [] : said.trim().split(/\s+/);
}

function orElse(wished: readonly string[], own: readonly string[]): readonly string[] {
  return wished.length > 0 ? wished : own;
}
