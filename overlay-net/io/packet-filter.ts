import { messageOf } from '@apiary/std';
import {
  DOCKER_USER,
  type GatewaySubnet,
  gatewayRules,
  type IptablesCall,
  missingAccepts,
  presentAccepts,
  TABLE,
  withoutGatewayRules,
} from '../core/index.js';
import { done, tried } from './command.js';

/** For another that changes the rules at the same time to let go of the lock. */
const WAIT = ['-w', '10'];

/** The rules of a gateway network: a table of ours, and two accepts in Docker's chain where there is one. */
export class PacketFilter {
  readonly #bridge: string;
  readonly #subnet: GatewaySubnet;
  /** How nft tells our table, as we made it. */
  #made: string | undefined;

  constructor(bridge: string, subnet: GatewaySubnet) {
    this.#bridge = bridge;
    this.#subnet = subnet;
  }

  /**
   * Puts right what is not as it should be. Nothing is touched that is.
   *
   * @returns what was put right, in words
   * @throws ApiaryError with the words of nft or iptables
   */
  async ensure(): Promise<string[]> {
    return [...(await this.#ensureTable()), ...(await this.#ensureAccepts())];
  }

  async #ensureTable(): Promise<string[]> {
    const present = await listTable();
    if (present !== undefined && present === this.#made) return [];
    await done('nft', ['-f', '-'], gatewayRules(this.#bridge, this.#subnet));
    this.#made = await listTable();
    return [`nftables table "${TABLE}"`];
  }

  async #ensureAccepts(): Promise<string[]> {
    const listing = await dockerUser();
    if (listing === undefined) return [];
    const calls = missingAccepts(listing, this.#bridge);
    for (const call of calls) await iptables(call);
    return calls.length === 0 ? [] : [`accepts in ${DOCKER_USER}`];
  }
}

/** Takes away the rules of whatever gateway network there is with this bridge. */
export async function removeRules(bridge: string): Promise<void> {
  await done('nft', ['-f', '-'], withoutGatewayRules());
  for (const call of presentAccepts((await dockerUser()) ?? '', bridge)) await iptables(call);
}

function listTable(): Promise<string | undefined> {
  return tried('nft', ['list', 'table', ...TABLE.split(' ')]);
}

async function iptables(call: IptablesCall): Promise<void> {
  await done('iptables', [...WAIT, ...call]);
}

/** The rules of Docker's chain; undefined when there is none, or no iptables to make one with. */
async function dockerUser(): Promise<string | undefined> {
  try {
    return await tried('iptables', [...WAIT, '-S', DOCKER_USER]);
  } catch (error) {
    if (messageOf(error).endsWith('is not installed')) return undefined;
    throw error;
  }
}
