import { type AddressUse, formatIpv4, parseIpv4 } from '@apiary/overlay-net/core';
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
    return addresses.every(({ networkId, address }) => {
      const holder = this.#networks.get(networkId)?.owners.get(parseIpv4(address) ?? -1);
      return holder === undefined || holder === owner;
    });
  }

  hold(owner: string, addresses: readonly NetworkAddress[]): void {
    for (const { networkId, address } of addresses) {
      const number = parseIpv4(address);
      // On a network of the engine's there is none of ours.
      if (number === undefined) continue;
      let network = this.#networks.get(networkId);
      if (network === undefined) {
        network = new Addresses();
        this.#networks.set(networkId, network);
      }
      if (network.owners.has(number)) continue;
      network.owners.set(number, owner);
      network.last = number;
    }
  }

  release(owner: string, addresses: readonly NetworkAddress[]): void {
    for (const { networkId, address } of addresses) {
      const network = this.#networks.get(networkId);
      const number = parseIpv4(address) ?? -1;
      if (network?.owners.get(number) === owner) network.owners.delete(number);
    }
  }

  /** A network that is gone has no addresses. */
  forget(networkId: string): void {
    this.#networks.delete(networkId);
  }
}

class Addresses implements AddressUse {
  readonly owners = new Map<number, string>();
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

/** The addresses in the words of a record. */
export function addressOf(networkId: string, number: number): NetworkAddress {
  return { networkId, address: formatIpv4(number) };
}
