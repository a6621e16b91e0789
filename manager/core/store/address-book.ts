import { type AddressUse, type Ipv6AddressUse, parseIpv4 } from '@apiary/overlay-net/core';
import type { NetworkAddress } from './records.js';

/**
 * Who has which address of each network, kept as records change: it follows from them alone, so that nothing is
 * forgotten with a leader and nothing leaks. An address belongs to the first who got it, until that one gives it back.
 */
export class AddressBook {
  readonly #networks = new Map<string, Addresses>();

  /** O(1); what comes out goes on to change. */
  use(networkId: string): Addresses {
    return this.#networks.get(networkId) ?? NONE;
  }

  /** Whether nobody but `owner` has one of the addresses. */
  isFreeFor(owner: string, addresses: readonly NetworkAddress[]): boolean {
    return addresses.every(({ networkId, address, ipv6Address = '' }) => {
      const network = this.#networks.get(networkId);
      const holders = [network?.owners.get(parseIpv4(address) ?? -1), network?.ipv6.owners.get(ipv6Address)];
      return holders.every((holder) => holder === undefined || holder === owner);
    });
  }

  hold(owner: string, addresses: readonly NetworkAddress[]): void {
    for (const { networkId, address, ipv6Address } of addresses) {
      const number = parseIpv4(address);
      // On a network of the engine's there is none of ours.
      if (number === undefined) continue;
      let network = this.#networks.get(networkId);
      if (network === undefined) {
        network = new Addresses();
        this.#networks.set(networkId, network);
      }
      if (ipv6Address !== undefined) network.ipv6.hold(owner, ipv6Address);
      if (network.owners.has(number)) continue;
      network.owners.set(number, owner);
      network.last = number;
    }
  }

  release(owner: string, addresses: readonly NetworkAddress[]): void {
    for (const { networkId, address, ipv6Address = '' } of addresses) {
      const network = this.#networks.get(networkId);
      const number = parseIpv4(address) ?? -1;
      if (network?.owners.get(number) === owner) network.owners.delete(number);
      if (network?.ipv6.owners.get(ipv6Address) === owner) network.ipv6.owners.delete(ipv6Address);
    }
  }

  /** A network that is gone has no addresses. */
  forget(networkId: string): void {
    this.#networks.delete(networkId);
  }
}

class Ipv6Addresses implements Ipv6AddressUse {
  readonly owners = new Map<string, string>();
  last: string | undefined;

  get count(): number {
    return this.owners.size;
  }

  has(address: string): boolean {
    return this.owners.has(address);
  }

  hold(owner: string, address: string): void {
    if (this.owners.has(address)) return;
    this.owners.set(address, owner);
    this.last = address;
  }
}

class Addresses implements AddressUse {
  readonly owners = new Map<number, string>();
  readonly ipv6 = new Ipv6Addresses();
  last: number | undefined;

  get count(): number {
    return this.owners.size;
  }

  has(address: number): boolean {
    return this.owners.has(address);
  }

  /** O(addresses in use). */
  highest(): number | undefined {
    let highest: number | undefined;
    for (const address of this.owners.keys()) if (highest === undefined || address > highest) highest = address;
    return highest;
  }
}

const NONE = new Addresses();
