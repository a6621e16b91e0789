import { messageOf } from '@apiary/std';
import {
  DOCKER_USER,
  type GatewayFilter,
  type GatewaySubnet,
  gatewayRules,
  gatewayRulesUpdate,
  type IptablesCall,
  missingAccepts,
  NO_FILTER,
  presentAccepts,
  TABLE,
  withoutGatewayRules,
} from '../core/index.js';
import { done, tried } from './command.js';
import { PORT_PREFIX } from './gateway-ports.js';
import { GATEWAY_TUNNEL } from './gateway-tunnel.js';

/** For another that changes the rules at the same time to let go of the lock. */
const WAIT = ['-w', '10'];

/** Every link of a gateway network, as iptables names them. */
const LINKS = [`${PORT_PREFIX}+`, GATEWAY_TUNNEL];

/** The rules of a gateway network: a table of ours, and accepts in Docker's chain where there is one. */
export class PacketFilter {
  readonly #subnet: GatewaySubnet;
  #wanted: GatewayFilter | undefined;
  /** What is in the table, as we made it, and how nft tells it. */
  #made: { filter: GatewayFilter | undefined; text: string | undefined } | undefined;

  constructor(subnet: GatewaySubnet) {
    this.#subnet = subnet;
  }

  /** Until it is told, what an earlier process left of the same network stays as it is: it works. */
  want(filter: GatewayFilter): void {
    this.#wanted = filter;
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
    const made = this.#made;
    if (made === undefined && this.#wanted === undefined && present?.includes(this.#subnet.subnet) === true) {
      this.#made = { filter: undefined, text: present };
      return [];
    }
    const isAsMade = made !== undefined && present === made.text;
    const wanted = this.#wanted ?? made?.filter ?? NO_FILTER;
    if (isAsMade && (this.#wanted === undefined || made.filter === wanted)) return [];
    const update = isAsMade && made.filter !== undefined ? gatewayRulesUpdate(made.filter, wanted) : undefined;
    // Whatever becomes of it, what is there is not known until it is over.
    this.#made = { filter: undefined, text: undefined };
    if (update !== '') await done('nft', ['-f', '-'], update ?? gatewayRules(this.#subnet, wanted));
    this.#made = { filter: wanted, text: update === '' ? present : await listTable() };
    return isAsMade ? [] : [`nftables table "${TABLE}"`];
  }

  async #ensureAccepts(): Promise<string[]> {
    const listing = await dockerUser();
    if (listing === undefined) return [];
    const calls = missingAccepts(listing, LINKS);
    for (const call of calls) await iptables(call);
    return calls.length === 0 ? [] : [`accepts in ${DOCKER_USER}`];
  }
}

/** Takes away the rules of whatever gateway network there is. */
export async function removeRules(): Promise<void> {
  await done('nft', ['-f', '-'], withoutGatewayRules());
  for (const call of presentAccepts((await dockerUser()) ?? '', LINKS)) await iptables(call);
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
