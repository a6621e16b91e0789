import { isIP } from 'node:net';
import type { PortConfig } from '@apiary/api/model';
import { FlagValueError } from '../command-line/index.js';
import { cut, splitCsv } from './words.js';

const PROTOCOLS = ['tcp', 'udp', 'sctp'];

/**
 * Reads a published port: `8080:80`, `8080-8089:80-89/udp`, or `published=8080,target=80,protocol=tcp,mode=host`; the
 * latter also at one address of hosts, `host_ip=127.0.0.1`.
 *
 * @returns one entry a port, those of a range in order
 * @throws FlagValueError in Docker's words
 */
export function parsePorts(text: string): PortConfig[] {
  return /\w+=\w+/.test(text) ? [parseLongForm(text)] : parseShortForm(text);
}

function parseLongForm(text: string): PortConfig {
  const port: PortConfig = {};
  for (const field of splitCsv(text)) {
    const { key, value, found } = cut(field.toLowerCase());
    if (!found || key === '') throw new FlagValueError(`invalid field: ${field}`);
    if (key === 'protocol') {
      if (!PROTOCOLS.includes(value)) throw new FlagValueError(`invalid protocol value '${value}'`);
      port.Protocol = value;
    } else if (key === 'mode') {
      if (value !== 'ingress' && value !== 'host') {
        throw new FlagValueError(`invalid publish mode value (${value}): must be either 'ingress' or 'host'`);
      }
      port.PublishMode = value;
    } else if (key === 'host_ip') {
      port.HostIP = hostAddress(value);
    } else if (key === 'target') {
      port.TargetPort = portNumber('target', value);
    } else if (key === 'published') {
      port.PublishedPort = portNumber('published', value) || undefined;
    } else {
      throw new FlagValueError(`invalid field key: ${key}`);
    }
  }
  if (port.TargetPort === undefined || port.TargetPort === 0) {
    throw new FlagValueError("missing mandatory field 'target'");
  }
  return { Protocol: 'tcp', PublishMode: 'ingress', ...port };
}

function hostAddress(text: string): string {
  if (isIP(text) !== 0) return text;
  throw new FlagValueError(`invalid host address ${text}: an IP address of hosts is expected`);
}

function portNumber(what: string, text: string): number {
  const fail = (why: string) => new FlagValueError(`invalid ${what} port (${text}): value must be an integer: ${why}`);
  if (!/^\d+$/.test(text)) throw fail('invalid syntax');
  if (Number(text) > 65_535) throw fail('value out of range');
  return Number(text);
}

function parseShortForm(text: string): PortConfig[] {
  const [, address = '', , published = '', , target = '', protocol = 'tcp'] =
    /^(?:(\[[^\]]*\]|[^:]*):(?=[^:]*:))?((?:([^:]*):)?)(([^:/]*)(?:\/(.*))?)$/s.exec(text) ?? [];
  if (target === '') throw new FlagValueError(`no port specified: ${text}<empty>`);
  const container = rangeOf(target);
  if (container === undefined) throw new FlagValueError(`invalid containerPort: ${target}`);
  const host = published === '' ? undefined : rangeOf(published);
  if (published !== '' && host === undefined) throw new FlagValueError(`invalid hostPort: ${published}`);
  if (!PROTOCOLS.includes(protocol.toLowerCase())) throw new FlagValueError(`invalid proto: ${protocol}`);
  if (address !== '') throw new FlagValueError(whyNotAt(address));

  const entry = (targetPort: number, publishedPort: number | undefined): PortConfig => ({
    Protocol: protocol.toLowerCase(),
    TargetPort: targetPort,
    PublishedPort: publishedPort || undefined,
    PublishMode: 'ingress',
  });
  const targets = numbers(container);
  if (host === undefined) return targets.map((port) => entry(port, undefined));
  const publishedPorts = numbers(host);
  const [first = 0] = targets;
  // Several published ports may lead to one target.
  if (targets.length === 1) return publishedPorts.map((port) => entry(first, port));
  if (targets.length !== publishedPorts.length) {
    throw new FlagValueError(`invalid ranges specified for container and host Ports: ${target} and ${published}`);
  }
  return targets.map((port, i) => entry(port, publishedPorts[i]));
}

/** Docker says of it that it cannot be; here it has a form of its own. */
function whyNotAt(address: string): string {
  const ip = address.replace(/^\[(.*)\]$/, '$1');
  if (isIP(ip) === 0) return `invalid IP address: ${address}`;
  return `hostip is not supported in this form: write published=PORT,target=PORT,host_ip=${ip}`;
}

interface Range {
  first: number;
  last: number;
}

function rangeOf(text: string): Range | undefined {
  const [, first, , last = first] = /^(\d{1,5})(-(\d{1,5}))?$/.exec(text) ?? [];
  const range = { first: Number(first), last: Number(last) };
  return range.first <= range.last && range.last <= 65_535 ? range : undefined;
}

function numbers({ first, last }: Range): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** The form in which two entries are compared, and sorted by. */
export function portKey(port: PortConfig): string {
  return `${port.HostIP ?? ''}:${port.PublishedPort ?? 0}:${port.TargetPort ?? 0}/${port.Protocol ?? ''}/${port.PublishMode ?? ''}`;
}
