export interface PortEntry {
  target: number;
  /** 0 when none was asked for. */
  published: number;
  protocol: string;
  hostIp: string;
}

const PROTOCOLS = ['tcp', 'udp', 'sctp'];

/** Reads `[HOST_IP:][PUBLISHED[-LAST]:]TARGET[-LAST][/PROTOCOL]`. @returns one entry a port, or what is wrong */
export function parsePort(text: string): PortEntry[] | string {
  const [, hostIp = '', published, target = '', protocol = 'tcp'] =
    /^(?:(\[[^\]]*\]|[^:]*):(?=[^:]*:))?(?:([^:]*):)?([^:/]*)(?:\/(.*))?$/s.exec(text) ?? [];
  const targets = numbers(target);
  if (targets === undefined) return `${JSON.stringify(target)} is no port, nor a range of ports`;
  const proto = protocol.toLowerCase();
  if (!PROTOCOLS.includes(proto))
    return `${JSON.stringify(protocol)} is no protocol: it is one of ${PROTOCOLS.join(', ')}`;
  const entry = (one: number, at: number): PortEntry => ({ target: one, published: at, protocol: proto, hostIp });
  if (published === undefined || published === '') return targets.map((one) => entry(one, 0));
  const ports = numbers(published);
  if (ports === undefined) return `${JSON.stringify(published)} is no port, nor a range of ports`;
  const [first = 0] = targets;
  if (targets.length === 1) return ports.map((port) => entry(first, port));
  if (targets.length !== ports.length) return `the ranges ${published} and ${target} differ in length`;
  return targets.map((one, i) => entry(one, ports[i] ?? 0));
}

function numbers(text: string): number[] | undefined {
  const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  if (first === undefined || Number(first) > Number(last) || Number(last) > 65_535) return undefined;
  return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
}
