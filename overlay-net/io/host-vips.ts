import { endUdpSockets, networkNamespaceCookie } from '@apiary/agent-native';
import { type Clock, messageOf, systemCodeOf } from '@apiary/std';
import { type KnownPeers, knownPeers, lostPeers, type NetworkState, vipRows } from '../core/index.js';
import type { GatewayLogger } from './gateway-network.js';
import { Upkeep } from './upkeep.js';
import { VipBalancer } from './vip-balancer.js';

const LOOK_PERIOD_MS = 3_000;
const GATHER_MS = 10;

export interface HostVipsOptions {
  /** See VipBalancerOptions. */
  directory: string;
  clock: Clock;
  logger: GatewayLogger;
  cgroup?: string;
}

/**
 * The VIPs of this host's tasks: made as the cluster's networks say, looked at again and again, and left as they are when
 * this is closed. Where the kernel cannot have them, names stand for the tasks themselves.
 *
 * A connection ends with the task that it goes to. Nothing says so to a UDP socket that was connected, and so goes on to that
 * task's address: it is ended, so that who waits on it hears of it, and connects anew to one that lives.
 */
export class HostVips {
  readonly #balancer: VipBalancer;
  readonly #upkeep: Upkeep;
  readonly #logger: GatewayLogger;
  #state: NetworkState | undefined;
  #peers: KnownPeers = new Map();
  /** Sockets are ended one host's change after the other. */
  #ending: Promise<void> = Promise.resolve();

  /** @throws Error that says what this host's kernel lacks */
  static async open(options: HostVipsOptions): Promise<HostVips> {
    await networkNamespaceCookie();
    await VipBalancer.probe();
    return new HostVips(options);
  }

  private constructor({ directory, clock, logger, cgroup }: HostVipsOptions) {
    this.#logger = logger;
    this.#balancer = new VipBalancer({ directory, ...(cgroup !== undefined && { cgroup }) });
    this.#upkeep = new Upkeep({
      clock,
      periodMs: LOOK_PERIOD_MS,
      gatherMs: GATHER_MS,
      work: async () => {
        if (this.#state === undefined) return;
        const { rows, members } = vipRows(this.#state);
        const repaired = await this.#balancer.ensure(rows, members);
        if (repaired.length > 0) logger.info({ repaired }, 'put VIPs right');
      },
      onFailure: (reason) => logger.warn({ reason }, 'cannot bring VIPs up to date'),
    });
  }

  /**
   * What there should be from now on; before the first time, what an earlier process left.
   *
   * @returns when the kernel does as it says, or cannot
   */
  async apply(state: NetworkState): Promise<void> {
    this.#state = state;
    const peers = knownPeers(state, this.#peers);
    const lost = lostPeers(this.#peers, peers, state);
    this.#peers = peers;
    await this.#upkeep.now();
    // Who connects anew is led to others by now.
    if (lost.size > 0) this.#ending = this.#ending.then(() => this.#endSockets(lost));
  }

  /** Looks after them no more; they stay as they are. */
  async close(): Promise<void> {
    await this.#upkeep.stop();
    await this.#ending;
    this.#balancer.close();
  }

  async #endSockets(lost: ReadonlyMap<string, ReadonlySet<string>>): Promise<void> {
    for (const [path, peers] of lost) {
      try {
        await endUdpSockets({ path }, peers);
      } catch (error) {
        // Who was in it has ended meanwhile.
        if (systemCodeOf(error) === 'ENOENT') continue;
        this.#logger.warn({ reason: messageOf(error) }, 'clients by UDP are not told that their task has ended');
        return;
      }
    }
  }
}

/** Takes away whatever of VIPs is on this host, made by whichever process. */
export async function removeHostVips(directory: string): Promise<void> {
  await new VipBalancer({ directory }).remove();
}
