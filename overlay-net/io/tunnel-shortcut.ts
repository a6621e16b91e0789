import { type BpfLink, BpfMap, BpfProgram, IpsecPolicies, type Link } from '@apiary/agent-native';
import { messageOf, systemCodeOf } from '@apiary/std';
import type { GatewayPeer, TunnelEnd } from '../core/index.js';
import { reconcile } from './bpf-table.js';
import { ORIGIN_BYTES, originEntry, receivingProgram, sendingProgram, WAY_BYTES, wayEntry } from './tunnel-programs.js';

const MOST_PEERS = 8_192;
const ETHERNET_ADDRESS = /^[\da-f]{2}(:[\da-f]{2}){5}$/;

/** Where packets are sent by, and where they come in. */
type Hook = 'tunnel' | 'underlay';

export interface TunnelShortcutOptions {
  vni: number;
  /** This host's address on its gateway network. */
  gateway: string;
  /** Called once, when this kernel cannot have it. */
  onRefusal: (reason: string) => void;
}

/** The links between which packets are led. */
export interface TunnelLinks {
  tunnel: Link;
  /** That has the address by which other hosts reach this one. */
  underlay: Link | undefined;
}

/**
 * Has packets between hosts go past the tunnel's device, by BPF programs that put on and take off the same headers: a third of
 * what a published port of another host costs beside a plain route is the device, and the pass of the packets around through IP.
 *
 * It holds nothing that a connection depends on. Without it, also on hosts with kernels before 6.6, and while this process is
 * away, packets go by the device. Not to be called while a call is under way.
 */
export class TunnelShortcut {
  readonly #options: TunnelShortcutOptions;
  #held: { ways: BpfMap; origins: BpfMap; links: Map<Hook, BpfLink> } | undefined;
  /** Undefined until they were asked for, and on a kernel without IPsec. */
  #policies: IpsecPolicies | undefined;
  #isRefused = false;

  constructor(options: TunnelShortcutOptions) {
    this.#options = options;
  }

  /**
   * Makes the kernel as these say, and puts right what somebody changed. Peers that are reached by IPv6 go by the device, and
   * all of them on a host with IPsec policies.
   *
   * @returns what was put right, in words
   */
  async ensure({ tunnel, underlay }: TunnelLinks, end: TunnelEnd, peers: readonly GatewayPeer[]): Promise<string[]> {
    const reached = peers.filter((peer) => !peer.underlay.includes(':') && !end.local.includes(':'));
    if (this.#isRefused) return [];
    if (reached.length === 0 || underlay === undefined || !ETHERNET_ADDRESS.test(underlay.address ?? '')) {
      await this.close();
      return [];
    }
    try {
      this.#policies ??= await IpsecPolicies.open();
      // These would not be asked.
      if (await this.#policies?.areThere()) {
        this.#letGo();
        return [];
      }
      return await this.#ensure({ tunnel, underlay }, end, reached);
    } catch (error) {
      this.#letGo();
      // A link was just taken away, which is looked at again.
      if (systemCodeOf(error) === 'ENODEV') return [];
      this.#isRefused = true;
      await this.close();
      this.#options.onRefusal(messageOf(error));
      return [];
    }
  }

  /** Takes it away: packets go by the device. */
  async close(): Promise<void> {
    this.#letGo();
    const policies = this.#policies;
    this.#policies = undefined;
    await policies?.close();
  }

  #letGo(): void {
    if (this.#held === undefined) return;
    const { ways, origins, links } = this.#held;
    for (const object of [...links.values(), ways, origins]) object.close();
    this.#held = undefined;
  }

  async #ensure(at: Record<Hook, Link>, end: TunnelEnd, peers: readonly GatewayPeer[]): Promise<string[]> {
    const { gateway, vni } = this.#options;
    const wasHeld = this.#held !== undefined;
    this.#held ??= await openMaps();
    const { ways, origins, links } = this.#held;
    // Whoever may send is known before anything is sent.
    const ownOrigins = peers.map((peer) => originEntry(gateway, end, peer, at.tunnel.index));
    const isOutdated = [
      await reconcile(origins, ownOrigins),
      await reconcile(
        ways,
        peers.map((peer) => wayEntry(gateway, end, peer, at.underlay.index)),
      ),
    ];
    const repaired = isOutdated.includes(true) ? ['short ways to other hosts'] : [];
    for (const hook of ['underlay', 'tunnel'] as const) {
      if ((await links.get(hook)?.info())?.linkIndex === at[hook].index) continue;
      links.get(hook)?.close();
      links.delete(hook);
      const instructions = hook === 'tunnel' ? sendingProgram(ways, vni) : receivingProgram(origins, vni);
      const attachType = hook === 'tunnel' ? 'tcx-egress' : 'tcx-ingress';
      const program = await BpfProgram.load({ type: 'sched-cls', attachType, instructions, name: `apiary_${hook}` });
      links.set(hook, await program.link({ linkIndex: at[hook].index, attachType }));
      program.close();
      repaired.push(`program at ${at[hook].name}`);
    }
    return wasHeld ? repaired : [];
  }
}

async function openMaps(): Promise<{ ways: BpfMap; origins: BpfMap; links: Map<Hook, BpfLink> }> {
  const shape = { type: 'hash', maxEntries: MOST_PEERS, flags: ['no-prealloc'] } as const;
  const ways = await BpfMap.create({
    ...shape,
    name: 'apiary_ways',
    keyBytes: WAY_BYTES.key,
    valueBytes: WAY_BYTES.value,
  });
  const origins = await BpfMap.create({
    ...shape,
    name: 'apiary_origins',
    keyBytes: ORIGIN_BYTES.key,
    valueBytes: ORIGIN_BYTES.value,
  });
  return { ways, origins, links: new Map() };
}
