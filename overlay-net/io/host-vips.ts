import { networkNamespaceCookie } from '@apiary/agent-native';
import type { Clock } from '@apiary/std';
import { type NetworkState, vipRows } from '../core/index.js';
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
 */
export class HostVips {
  readonly #balancer: VipBalancer;
  readonly #upkeep: Upkeep;
  #state: NetworkState | undefined;

  /** @throws Error that says what this host's kernel lacks */
  static async open(options: HostVipsOptions): Promise<HostVips> {
    await networkNamespaceCookie();
    await VipBalancer.probe();
    return new HostVips(options);
  }

  private constructor({ directory, clock, logger, cgroup }: HostVipsOptions) {
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
    await this.#upkeep.now();
  }

  /** Looks after them no more; they stay as they are. */
  async close(): Promise<void> {
    await this.#upkeep.stop();
    this.#balancer.close();
  }
}

/** Takes away whatever of VIPs is on this host, made by whichever process. */
export async function removeHostVips(directory: string): Promise<void> {
  await new VipBalancer({ directory }).remove();
}
