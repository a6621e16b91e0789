import { ApiaryError } from '@apiary/std';
import type { GatewaySubnet } from './gateway-subnet.js';
import { formatIpv4, parseIpv4 } from './ipv4.js';

/**
 * The addresses of a subnet and who has them. One that was given back is the last to be given out again, so that what
 * still remembers its former owner (neighbour entries, connections) has had time to forget.
 */
export class AddressPool {
  readonly #subnet: GatewaySubnet;
  /** Addresses from here on were never used, unless one is among `#owners`. */
  #nextUnused: number;
  /** Given back, the longest ago first. */
  readonly #free = new Set<number>();
  readonly #owners = new Map<number, string>();
  readonly #addresses = new Map<string, number>();

  constructor(subnet: GatewaySubnet) {
    this.#subnet = subnet;
    this.#nextUnused = subnet.firstAddress;
  }

  /** How many are in use. */
  get used(): number {
    return this.#owners.size;
  }

  addressOf(owner: string): string | undefined {
    const address = this.#addresses.get(owner);
    return address === undefined ? undefined : formatIpv4(address);
  }

  /**
   * An address for `owner`: the one that it has, or a free one.
   *
   * @throws ApiaryError `resource-exhausted` when all are in use
   */
  take(owner: string): string {
    const held = this.#addresses.get(owner);
    if (held !== undefined) return formatIpv4(held);
    const address = this.#nextFree();
    if (address === undefined) {
      const { subnet } = this.#subnet;
      throw new ApiaryError('resource-exhausted', `no free address in gateway subnet ${subnet}: ${this.used} in use`);
    }
    this.#give(address, owner);
    return formatIpv4(address);
  }

  /**
   * Gives `owner` the address that it had before, in place of any other.
   *
   * @throws ApiaryError `already-exists` when somebody else has it by now; `invalid-argument` when it is none of the
   *   subnet's for tasks
   */
  claim(owner: string, text: string): void {
    const address = parseIpv4(text) ?? -1;
    const { subnet, firstAddress, lastAddress } = this.#subnet;
    if (address < firstAddress || address > lastAddress) {
      throw new ApiaryError('invalid-argument', `address ${text} is not one for tasks in gateway subnet ${subnet}`);
    }
    const holder = this.#owners.get(address);
    if (holder === owner) return;
    if (holder !== undefined) {
      throw new ApiaryError('already-exists', `address ${text} is in use by ${holder} by now`);
    }
    this.release(owner);
    this.#give(address, owner);
  }

  /** Nothing happens when it has none. */
  release(owner: string): void {
    const address = this.#addresses.get(owner);
    if (address === undefined) return;
    this.#addresses.delete(owner);
    this.#owners.delete(address);
    this.#free.add(address);
  }

  #give(address: number, owner: string): void {
    this.#free.delete(address);
    this.#owners.set(address, owner);
    this.#addresses.set(owner, address);
  }

  #nextFree(): number | undefined {
    while (this.#nextUnused <= this.#subnet.lastAddress) {
      const address = this.#nextUnused++;
      if (!this.#owners.has(address) && !this.#free.has(address)) return address;
    }
    return this.#free.values().next().value;
  }
}
