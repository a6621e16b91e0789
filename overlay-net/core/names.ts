import { formatIp } from './ipam/index.js';
import { parseIpv4 } from './ipv4.js';
import type { AssignedNetwork, EndpointSet } from './network-state.js';

export interface Question {
  /** As it was asked, without the dot at the end. */
  name: string;
  type: 'A' | 'AAAA' | 'PTR' | 'other';
}

/**
 * What a name stands for among those who ask: addresses, names (of an address), nothing of the kind that was asked for,
 * nobody, or what another resolver has to say.
 */
export type NameAnswer =
  | { kind: 'addresses'; addresses: readonly string[] }
  | { kind: 'names'; names: readonly string[] }
  | { kind: 'empty' }
  | { kind: 'nobody' }
  | { kind: 'elsewhere' };

/** What Docker puts before a service's name for the addresses of its tasks. */
const TASKS_PREFIX = 'tasks.';
const REVERSE_SUFFIX = '.in-addr.arpa';
/** RFC 3596, 2.5: a digit a label, the last first. */
const IPV6_REVERSE = /^((?:[0-9a-f]\.){32})ip6\.arpa$/;

/** Of a name, by family. Who has addresses has one of IPv4. */
export interface NamedAddresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

const NOBODY: NamedAddresses = { ipv4: [], ipv6: [] };

/**
 * The names of one network. Only who takes new connections has one: a name whose tasks are all on their way out is still
 * the cluster's, and stands for nobody.
 */
export class NetworkNames {
  readonly network: string;
  /** By name in lower case. */
  readonly #addresses = new Map<string, NamedAddresses>();
  readonly #names = new Map<string, string>();

  /** @param hasVips  whether this host's tasks reach services by their virtual addresses; else it is by those of tasks */
  constructor({ name }: Pick<AssignedNetwork, 'name'>, set: EndpointSet, { hasVips }: { hasVips: boolean }) {
    this.network = name.toLowerCase();
    const ofService = new Map<string, NamedAddresses>();
    for (const { serviceId, address, ipv6Address = '', taskName, aliases, live } of set.endpoints.values()) {
      const addresses = live ? named(address, ipv6Address) : NOBODY;
      for (const each of [taskName, ...aliases]) add(this.#addresses, each.toLowerCase(), addresses);
      add(ofService, serviceId, addresses);
      for (const each of [address, ipv6Address]) if (each !== '') this.#names.set(each, `${taskName}.${name}`);
    }
    const ofServices = new Map<string, NamedAddresses>();
    for (const { serviceId, name: service, vip, ipv6Vip = '', aliases } of set.services.values()) {
      const tasks = ofService.get(serviceId) ?? NOBODY;
      const reached = vip !== '' && hasVips && tasks.ipv4.length > 0 ? named(vip, ipv6Vip) : tasks;
      for (const each of [service, ...aliases]) {
        add(ofServices, each.toLowerCase(), reached);
        add(ofServices, `${TASKS_PREFIX}${each}`.toLowerCase(), tasks);
      }
      for (const each of [vip, ipv6Vip]) if (each !== '') this.#names.set(each, `${service}.${name}`);
    }
    // A service stands before tasks that share an alias with it.
    for (const [each, addresses] of ofServices) this.#addresses.set(each, addresses);
  }

  /** @param name  in lower case. Undefined for one that nobody on the network has */
  addressesOf(name: string): NamedAddresses | undefined {
    return this.#addresses.get(name);
  }

  nameOf(address: string): string | undefined {
    return this.#names.get(address);
  }
}

function named(address: string, ipv6Address: string): NamedAddresses {
  return { ipv4: address === '' ? [] : [address], ipv6: ipv6Address === '' ? [] : [ipv6Address] };
}

function add(to: Map<string, NamedAddresses>, key: string, { ipv4, ipv6 }: NamedAddresses): void {
  const { ipv4: before, ipv6: before6 } = to.get(key) ?? NOBODY;
  to.set(key, { ipv4: union(before, ipv4), ipv6: union(before6, ipv6) });
}

function union(a: readonly string[], b: readonly string[]): readonly string[] {
  return b.length === 0 ? a : a.length === 0 ? b : [...new Set([...a, ...b])];
}

/**
 * What is answered to somebody who is on these networks, in their order. As with Docker, a name may be followed by that of
 * its network.
 */
export function answerName({ name, type }: Question, networks: readonly NetworkNames[]): NameAnswer {
  const asked = name.toLowerCase();
  if (type === 'PTR') return answerReverse(asked, networks);
  const found = lookUp(asked, networks);
  if (found.length === 0) return { kind: 'elsewhere' };
  const ofFamily = type === 'AAAA' ? found.map(({ ipv6 }) => ipv6) : found.map(({ ipv4 }) => ipv4);
  const addresses = ofFamily.find((each) => each.length > 0);
  if (addresses !== undefined && type !== 'other') return { kind: 'addresses', addresses };
  return { kind: found.some(({ ipv4 }) => ipv4.length > 0) ? 'empty' : 'nobody' };
}

/** What the name stands for on each network that knows it. */
function lookUp(name: string, networks: readonly NetworkNames[]): NamedAddresses[] {
  return networks.flatMap((each) => each.addressesOf(name) ?? qualified(name, each) ?? []);
}

function qualified(name: string, names: NetworkNames): NamedAddresses | undefined {
  const suffix = `.${names.network}`;
  return name.endsWith(suffix) ? names.addressesOf(name.slice(0, -suffix.length)) : undefined;
}

function answerReverse(name: string, networks: readonly NetworkNames[]): NameAnswer {
  const address = reversed(name);
  if (address === undefined) return { kind: 'elsewhere' };
  const names = networks.flatMap((each) => each.nameOf(address) ?? []);
  return names.length > 0 ? { kind: 'names', names } : { kind: 'elsewhere' };
}

/** The address that a name below `in-addr.arpa` or `ip6.arpa` is of. */
function reversed(name: string): string | undefined {
  const [, digits] = IPV6_REVERSE.exec(name) ?? [];
  if (digits !== undefined) {
    return formatIp({ bits: 128, value: BigInt(`0x${digits.split('.').reverse().join('')}`) });
  }
  if (!name.endsWith(REVERSE_SUFFIX)) return undefined;
  const address = name.slice(0, -REVERSE_SUFFIX.length).split('.').reverse().join('.');
  return parseIpv4(address) === undefined ? undefined : address;
}
