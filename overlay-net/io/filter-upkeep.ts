import type { Netlink } from '@apiary/agent-native';
import type { GatewayFilter, GatewaySubnet } from '../core/index.js';
import { PacketFilter } from './packet-filter.js';
import { StrayFlows } from './stray-flows.js';
import { Upkeep, type UpkeepOptions } from './upkeep.js';

/** What changes the rules of nftables is heard of at once; this is for iptables of the old kind. */
const PERIOD_MS = 30_000;

export interface FilterUpkeepOptions extends Pick<UpkeepOptions, 'clock' | 'gatherMs' | 'onFailure'> {
  netlink: Netlink;
  subnet: GatewaySubnet;
  /** What was put right, in words; empty for nothing. */
  onRepaired: (repaired: string[]) => void;
}

/** Keeps the rules of a gateway network as they should be, and has flows that began by earlier ones follow them. */
export class FilterUpkeep {
  readonly #filter: PacketFilter;
  readonly #flows: StrayFlows;
  readonly #upkeep: Upkeep;
  #wanted: GatewayFilter | undefined;
  /** The last attempt failed: it is not to wait for the next change. */
  #isBehind = false;

  /** @throws KernelError, ApiaryError that says why this host cannot have the rules */
  static async open(options: FilterUpkeepOptions): Promise<FilterUpkeep> {
    const filter = new PacketFilter(options.subnet);
    try {
      await filter.ensure();
    } catch (error) {
      await filter.close();
      throw error;
    }
    return new FilterUpkeep(filter, options);
  }

  private constructor(filter: PacketFilter, { netlink, subnet, onRepaired, ...options }: FilterUpkeepOptions) {
    this.#filter = filter;
    this.#flows = new StrayFlows(netlink, subnet.names);
    const work = async () => onRepaired(await this.#ensure());
    this.#upkeep = new Upkeep({ ...options, periodMs: PERIOD_MS, work });
  }

  /** Until it is told, what an earlier process left stays. @returns when the kernel does as it says, or cannot */
  async want(filter: GatewayFilter): Promise<void> {
    this.#wanted = filter;
    if (!(await this.#filter.want(filter))) await this.#upkeep.now();
    else await this.#flowsFollow().catch(() => this.#upkeep.ask());
  }

  /** Something may have changed. */
  ask(): void {
    this.#upkeep.ask();
  }

  /** The same, if what was wanted last could not be had. */
  askAgain(): void {
    if (this.#isBehind) this.#upkeep.ask();
  }

  /** Looks after the rules no more. What is wanted from now on is made only where that takes no look. */
  async stop(): Promise<void> {
    await this.#upkeep.stop();
  }

  /** After it was stopped, and nothing more is wanted. The rules stay. */
  async close(): Promise<void> {
    await Promise.all([this.#filter.close(), this.#flows.close()]);
  }

  async #ensure(): Promise<string[]> {
    this.#isBehind = true;
    const repaired = await this.#filter.ensure();
    await this.#flowsFollow();
    this.#isBehind = false;
    return repaired;
  }

  async #flowsFollow(): Promise<void> {
    if (this.#wanted === undefined) return;
    const { ports, peers, ipv6 } = this.#wanted;
    await this.#flows.redirect(ports, peers, { hasIpv6: ipv6 !== undefined });
  }
}
