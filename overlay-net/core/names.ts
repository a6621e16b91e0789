import { parseIpv4 } from './ipv4.js';
import type { AssignedNetwork, EndpointSet } from './network-state.js';

export interface Question {
  /** As it was asked, without the dot at the end. */
  name: string;
  type: 'A' | 'PTR' | 'other';
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

/**
 * The names of one network. Only who takes new connections has one: a name whose tasks are all on their way out is still
 * the cluster's, and stands for nobody.
 */
export class NetworkNames {
  readonly network: string;
  /** By name in lower case. */
  readonly #addresses = new Map<string, string[]>();
  readonly #names = new Map<string, string>();

  /** @param hasVips  whether this host's tasks reach services by their virtual addresses; else it is by those of tasks */
  constructor({ name }: Pick<AssignedNetwork, 'name'>, set: EndpointSet, { hasVips }: { hasVips: boolean }) {
    this.network = name.toLowerCase();
    const ofService = new Map<string, string[]>();
    for (const { serviceId, address, taskName, aliases, live } of set.endpoints.values()) {
      const addresses = live && address !== '' ? [address] : [];
      for (const each of [taskName, ...aliases]) add(this.#addresses, each, addresses);
      ofService.set(serviceId, [...(ofService.get(serviceId) ?? []), ...addresses]);
      if (address !== '') this.#names.set(address, `${taskName}.${name}`);
    }
    const ofServices = new Map<string, string[]>();
    for (const { serviceId, name: service, vip, aliases } of set.services.values()) {
      const tasks = ofService.get(serviceId) ?? [];
      const reached = vip !== '' && hasVips && tasks.length > 0 ? [vip] : tasks;
      for (const each of [service, ...aliases]) {
        add(ofServices, each, reached);
        add(ofServices, `${TASKS_PREFIX}${each}`, tasks);
      }
      if (vip !== '') this.#names.set(vip, `${service}.${name}`);
    }
    // A service stands before tasks that share an alias with it.
    for (const [each, addresses] of ofServices) this.#addresses.set(each, addresses);
  }

  /** @param name  in lower case. Undefined for one that nobody on the network has */
  addressesOf(name: string): readonly string[] | undefined {
    return this.#addresses.get(name);
  }

  nameOf(address: string): string | undefined {
    return this.#names.get(address);
  }
}

function add(to: Map<string, string[]>, name: string, addresses: readonly string[]): void {
  const key = name.toLowerCase();
  to.set(key, [...new Set([...(to.get(key) ?? []), ...addresses])]);
}

/**
 * What is answered to somebody who is on these networks, in their order. As with Docker, a name may be followed by that of
 * its network.
 */
export function answerName({ name, type }: Question, networks: readonly NetworkNames[]): NameAnswer {
  const asked = name.toLowerCase();
  if (type === 'PTR') return answerReverse(asked, networks);
  const addresses = lookUp(asked, networks);
  if (addresses === undefined) return { kind: 'elsewhere' };
  if (addresses.length === 0) return { kind: 'nobody' };
  return type === 'A' ? { kind: 'addresses', addresses } : { kind: 'empty' };
}

function lookUp(name: string, networks: readonly NetworkNames[]): readonly string[] | undefined {
  let known: readonly string[] | undefined;
  for (const each of networks) {
    const found = each.addressesOf(name) ?? qualified(name, each);
    if (found !== undefined && found.length > 0) return found;
    known ??= found;
  }
  return known;
}

function qualified(name: string, names: NetworkNames): readonly string[] | undefined {
  const suffix = `.${names.network}`;
  return name.endsWith(suffix) ? names.addressesOf(name.slice(0, -suffix.length)) : undefined;
}

function answerReverse(name: string, networks: readonly NetworkNames[]): NameAnswer {
  if (!name.endsWith(REVERSE_SUFFIX)) return { kind: 'elsewhere' };
  const address = name.slice(0, -REVERSE_SUFFIX.length).split('.').reverse().join('.');
  if (parseIpv4(address) === undefined) return { kind: 'elsewhere' };
  const names = networks.flatMap((each) => each.nameOf(address) ?? []);
  return names.length > 0 ? { kind: 'names', names } : { kind: 'elsewhere' };
}
