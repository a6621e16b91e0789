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
  readonly #addresses: ReadonlyMap<string, NamedAddresses>;
  readonly #names = new Map<string, string>();

  /** @param hasVips  whether this host's tasks reach services by their virtual addresses; else it is by those of tasks */
  constructor({ name }: Pick<AssignedNetwork, 'name'>, set: EndpointSet, { hasVips }: { hasVips: boolean }) {
    this.network = name.toLowerCase();
    const ofTasks = new Map<string, Gathered>();
    const ofService = new Map<string, Gathered>();
    for (const { serviceId, address, ipv6Address = '', taskName, aliases, live } of set.endpoints.values()) {
      const addresses = live ? named(address, ipv6Address) : NOBODY;
      // A container that the engine has not named yet has none.
      for (const each of [taskName, ...aliases]) if (each !== '') add(ofTasks, each, addresses);
      add(ofService, serviceId, addresses);
      for (const each of [address, ipv6Address])
        if (each !== '' && taskName !== '') this.#names.set(each, `${taskName}.${name}`);
    }
    const ofServices = new Map<string, Gathered>();
    for (const { serviceId, name: service, vip, ipv6Vip = '', aliases } of set.services.values()) {
      const tasks = listed(ofService.get(serviceId));
      const reached = vip !== '' && hasVips && tasks.ipv4.length > 0 ? named(vip, ipv6Vip) : tasks;
      for (const each of [service, ...aliases]) {
        add(ofServices, each, reached);
        add(ofServices, `${TASKS_PREFIX}${each}`, tasks);
      }
      for (const each of [vip, ipv6Vip]) if (each !== '') this.#names.set(each, `${service}.${name}`);
    }
    // A service stands before tasks that share an alias with it.
    this.#addresses = new Map([...ofTasks, ...ofServices].map(([each, gathered]) => [each, listed(gathered)]));
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

/** Addresses of a name, while more are found. */
interface Gathered {
  ipv4: Set<string>;
  ipv6: Set<string>;
}

function add(to: Map<string, Gathered>, name: string, { ipv4, ipv6 }: NamedAddresses): void {
  const key = name.toLowerCase();
  let gathered = to.get(key);
  if (gathered === undefined) {
    gathered = { ipv4: new Set(), ipv6: new Set() };
    to.set(key, gathered);
  }
  for (const address of ipv4) gathered.ipv4.add(address);
  for (const address of ipv6) gathered.ipv6.add(address);
}

function listed(gathered: Gathered | undefined): NamedAddresses {
  return gathered === undefined ? NOBODY : { ipv4: [...gathered.ipv4], ipv6: [...gathered.ipv6] };
}

/**
 * What is answered to somebody who is on these networks, in their order. As with Docker, a name may be followed by that of
 * its network.
 */
export function answerName({ name, type }: Question, networks: readonly NetworkNames[]): NameAnswer {
  const asked = name.toLowerCase();
  if (type === 'PTR') return answerReverse(asked, networks);
  let isKnown = false;
  let isSomebody = false;
  for (const each of networks) {
    const found = each.addressesOf(asked) ?? qualified(asked, each);
    if (found === undefined) continue;
    const addresses = type === 'AAAA' ? found.ipv6 : found.ipv4;
    if (addresses.length > 0 && type !== 'other') return { kind: 'addresses', addresses };
    isKnown = true;
    isSomebody ||= found.ipv4.length > 0;
  }
  if (!isKnown) return { kind: 'elsewhere' };
  return { kind: isSomebody ? 'empty' : 'nobody' };
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
