import type { PortConfig } from '@apiary/api/model';
import {
  type AddressRange,
  type AddressUse,
  addressIn,
  addressRange,
  freeAddress,
  numberIn,
} from '@apiary/overlay-net/core';
import { networkTargets } from '../store/apply-network-change.js';
import type { NetworkAddress, ServiceEndpoint, ServiceRecord, SpecVersion } from '../store/records.js';
import { isGrowing, shortageWords, useOf } from '../store/subnets.js';
import type { View } from '../store/view.js';

/** Ports that a service publishes without saying which: those of Docker. */
const FIRST_DYNAMIC_PORT = 30_000;
const LAST_DYNAMIC_PORT = 32_767;

/** The addresses of one of a network's subnets, with their use in this pass. */
interface Pool {
  subnet: string;
  range: AddressRange;
  use: PassUse;
  /** Whether it begins small. */
  grows: boolean;
  next: number | undefined;
}

/**
 * Addresses and ports of one pass: what committed state says is taken, and what the pass has given since. It is the leader
 * alone that gives, one pass at a time; what a pass gave and could not commit was never given.
 */
export class Allocation {
  readonly #view: View;
  /**
   * Of each network those of its subnets, by family, IPv4 first: a task gets an address of each family, of the first subnet that
   * has one. None for one of the engine's, whose addresses are not ours to give.
   */
  readonly #families = new Map<string, readonly (readonly Pool[])[]>();
  #ports: Set<string> | undefined;

  constructor(view: View) {
    this.#view = view;
  }

  /** Why no task of the spec version can have its addresses now; undefined when one can. O(networks of the task). */
  shortageOf(spec: SpecVersion): string | undefined {
    const shortages: string[] = [];
    for (const id of idsOf(spec)) {
      const network = this.#view.network(id);
      if (network === undefined) shortages.push(`network ${id} is gone`);
      const empty = this.#familiesOf(id).find((family) => this.#withRoom(family) === undefined);
      if (network === undefined || empty === undefined) continue;
      const words = empty.map(({ subnet, range }) => shortageWords(network, subnet, range));
      shortages.push(words.join('; '));
    }
    return shortages.length === 0 ? undefined : shortages.join('; ');
  }

  /** Addresses for a task of the spec version, of which there is no shortage. Undefined when it is on no network. */
  take(spec: SpecVersion): NetworkAddress[] | undefined {
    const ids = idsOf(spec);
    if (ids.length === 0) return undefined;
    return ids.map((id) => this.#give(id) ?? { networkId: id, address: '' });
  }

  /**
   * Virtual addresses and published ports of a service: those that it has as far as it still asks for them, and new ones.
   * Undefined when they are as they should be.
   */
  endpointFor(service: ServiceRecord): ServiceEndpoint | undefined {
    const { spec, endpoint = { vips: [], ports: [] } } = service;
    const vips = this.#vipsFor(service, endpoint.vips);
    const ports = this.#portsFor(spec.EndpointSpec?.Ports ?? [], endpoint.ports);
    const isSame = JSON.stringify({ vips, ports }) === JSON.stringify(endpoint);
    return isSame ? undefined : { vips, ports };
  }

  #vipsFor(service: ServiceRecord, held: readonly NetworkAddress[]): NetworkAddress[] {
    const networkIds = this.#vipNetworks(service);
    for (const vip of held) if (!networkIds.includes(vip.networkId)) this.#takeBack(vip);
    const vips: NetworkAddress[] = [];
    for (const networkId of networkIds) {
      const kept = held.find((vip) => vip.networkId === networkId);
      const isEngines = this.#familiesOf(networkId).length === 0;
      const vip = kept ?? (isEngines ? { networkId, address: '' } : this.#give(networkId));
      // Without one, the service's name stands for its tasks' addresses.
      if (vip !== undefined) vips.push(vip);
    }
    return vips;
  }

  /** The networks on which a service has an address of its own: first the one that stands for published ports. */
  #vipNetworks({ spec }: ServiceRecord): string[] {
    const { Mode = 'vip', Ports = [] } = spec.EndpointSpec ?? {};
    if (Mode === 'dnsrr') return [];
    const isPublished = Ports.some(({ PublishMode = 'ingress' }) => PublishMode === 'ingress');
    const ingress = isPublished ? this.#view.networks().find(({ kind }) => kind === 'ingress') : undefined;
    return [...(ingress === undefined ? [] : [ingress.id]), ...new Set(networkTargets(spec))];
  }

  #portsFor(asked: readonly PortConfig[], held: readonly PortConfig[]): PortConfig[] {
    const rest = [...held];
    return asked.map((port) => {
      const { PublishMode = 'ingress', PublishedPort = 0, TargetPort = 0, Protocol = 'tcp', Name } = port;
      if (PublishMode !== 'ingress' || PublishedPort !== 0) return port;
      const at = rest.findIndex(
        (other) =>
          (other.PublishedPort ?? 0) >= FIRST_DYNAMIC_PORT &&
          other.TargetPort === TargetPort &&
          (other.Protocol ?? 'tcp') === Protocol &&
          other.Name === Name &&
          (other.PublishMode ?? 'ingress') === 'ingress',
      );
      const [kept] = at === -1 ? [] : rest.splice(at, 1);
      const published = kept?.PublishedPort ?? this.#freePort(Protocol);
      return published === undefined ? port : { ...port, PublishedPort: published };
    });
  }

  #freePort(protocol: string): number | undefined {
    this.#ports ??= publishedPorts(this.#view);
    for (let port = FIRST_DYNAMIC_PORT; port <= LAST_DYNAMIC_PORT; port++) {
      const key = `${port}/${protocol}`;
      if (this.#ports.has(key)) continue;
      this.#ports.add(key);
      return port;
    }
    return undefined;
  }

  #give(networkId: string): NetworkAddress | undefined {
    const found: string[] = [];
    const families = this.#familiesOf(networkId);
    if (families.some((family) => this.#withRoom(family) === undefined)) return undefined;
    for (const family of families) {
      const pool = this.#withRoom(family);
      const number = pool && this.#peek(pool);
      if (pool === undefined || number === undefined) continue;
      pool.use.add(number);
      pool.next = undefined;
      found.push(addressIn(pool.range, number));
    }
    const [address, ipv6Address] = found;
    return address === undefined ? undefined : { networkId, address, ...(ipv6Address && { ipv6Address }) };
  }

  #withRoom(family: readonly Pool[]): Pool | undefined {
    return family.find((pool) => this.#peek(pool) !== undefined);
  }

  /** What a service gives back is free for the tasks of the same pass: its change comes before theirs in the entry. */
  #takeBack({ networkId, address, ipv6Address = '' }: NetworkAddress): void {
    for (const { range, use } of this.#familiesOf(networkId).flat()) {
      const number = numberIn(range, address) ?? numberIn(range, ipv6Address);
      if (number !== undefined && number >= range.first && number <= range.last) use.free(number);
    }
  }

  #peek(pool: Pool): number | undefined {
    pool.next ??= freeAddress(pool.range, pool.use, pool.grows);
    return pool.next;
  }

  #familiesOf(networkId: string): readonly (readonly Pool[])[] {
    const known = this.#families.get(networkId);
    if (known !== undefined) return known;
    const network = this.#view.network(networkId);
    const used = this.#view.addresses(networkId);
    const pools = (network?.subnets ?? []).map((subnet): Pool => {
      const range = addressRange(subnet);
      return {
        subnet: subnet.subnet,
        range,
        use: new PassUse(useOf(used, range)),
        grows: network !== undefined && isGrowing(network, range),
        next: undefined,
      };
    });
    const families = [32, 128].map((bits) => pools.filter(({ range }) => range.bits === bits));
    const present = families.filter((family) => family.length > 0);
    this.#families.set(networkId, present);
    return present;
  }
}

/** Whether a service has the addresses and ports that its spec asks for, or is gone. */
export function isAllocated(view: View, serviceId: string): boolean {
  const service = view.service(serviceId);
  return service === undefined || new Allocation(view).endpointFor(service) === undefined;
}

function idsOf({ template }: SpecVersion): string[] {
  return [...new Set((template.Networks ?? []).map(({ Target = '' }) => Target))];
}

function publishedPorts(view: View): Set<string> {
  const keys = new Set<string>();
  for (const { spec, endpoint } of view.services()) {
    for (const { PublishedPort = 0, Protocol = 'tcp' } of [
      ...(spec.EndpointSpec?.Ports ?? []),
      ...(endpoint?.ports ?? []),
    ]) {
      keys.add(`${PublishedPort}/${Protocol}`);
    }
  }
  return keys;
}

/** What committed state says is in use, without what was taken back since, and with what was given. */
class PassUse implements AddressUse {
  readonly #committed: AddressUse;
  readonly #given = new Set<number>();
  readonly #freed = new Set<number>();
  last: number | undefined;

  constructor(committed: AddressUse) {
    this.#committed = committed;
    this.last = committed.last;
  }

  get count(): number {
    return this.#committed.count - this.#freed.size + this.#given.size;
  }

  has(address: number): boolean {
    return (this.#committed.has(address) && !this.#freed.has(address)) || this.#given.has(address);
  }

  free(address: number): void {
    this.#freed.add(address);
  }

  add(address: number): void {
    this.#given.add(address);
    this.last = address;
  }
}
