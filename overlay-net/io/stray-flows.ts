import { Conntrack, type Netlink } from '@apiary/agent-native';
import {
  entryAddresses,
  GATEWAY_POOL,
  type GatewayPeer,
  ipv6EntryAddresses,
  isIpv6GatewayAddress,
  overlap,
  type PortRow,
  parseIpv4Prefix,
  strayFlows,
} from '../core/index.js';

/** Protocols without connections that end by themselves. */
const CONNECTIONLESS = ['udp'] as const;

/** Has flows that go to where their port no longer leads go where it does. */
export class StrayFlows {
  readonly #netlink: Netlink;
  #conntrack: Conntrack | undefined;
  /** The ports as they were when the kernel's flows were last looked at. */
  #seen = '';
  #turn: Promise<void> = Promise.resolve();

  readonly #names: string;

  /** @param names  where what is asked for names is translated to, whatever is published */
  constructor(netlink: Netlink, names: string) {
    this.#netlink = netlink;
    this.#names = names;
  }

  /** Does nothing while the ports are as they were. */
  async redirect(rows: readonly PortRow[], peers: readonly GatewayPeer[], { hasIpv6 = false } = {}): Promise<void> {
    const turn = this.#turn.then(() => this.#redirect(rows, peers, hasIpv6));
    this.#turn = turn.catch(() => {});
    await turn;
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#conntrack?.close();
    this.#conntrack = undefined;
  }

  async #redirect(rows: readonly PortRow[], peers: readonly GatewayPeer[], hasIpv6: boolean): Promise<void> {
    const concerned = rows.filter(({ protocol }) => CONNECTIONLESS.some((each) => each === protocol));
    const seen = JSON.stringify(concerned);
    if (seen === this.#seen || (concerned.length === 0 && this.#seen === '')) return;
    this.#conntrack ??= await Conntrack.open();
    const own = (await this.#netlink.addresses(hasIpv6 ? {} : { family: 'ipv4' })).map(
      ({ address }) => address.split('/')[0] ?? '',
    );
    const others = hasIpv6 ? ipv6EntryAddresses(peers) : [];
    const entries = new Set([...own, ...entryAddresses(peers), ...others]);
    const pool = parseIpv4Prefix(GATEWAY_POOL);
    const isGatewayAddress = (address: string) =>
      address.includes(':') ? isIpv6GatewayAddress(address) : overlap(pool, parseIpv4Prefix(`${address}/32`));
    for (const protocol of CONNECTIONLESS) {
      const flows = (await this.#conntrack.flows(protocol)).filter(({ reply }) => reply.source !== this.#names);
      if (hasIpv6) flows.push(...(await this.#conntrack.flows(protocol, 'ipv6')));
      await this.#conntrack.forget(strayFlows(flows, protocol, rows, entries, isGatewayAddress));
    }
    this.#seen = seen;
  }
}
