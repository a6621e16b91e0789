import { generationAfter, Ruleset, type RulesetChange } from '@apiary/agent-native';
import { ApiaryError, messageOf } from '@apiary/std';
import {
  addressBytes,
  DOCKER_USER,
  type GatewayFilter,
  type GatewaySubnet,
  gatewayPortChanges,
  gatewayRules,
  gatewayRulesUpdate,
  missingAccepts,
  NO_FILTER,
  type PortChange,
  presentAccepts,
  TABLE,
  TABLE_NAME,
  withoutGatewayRules,
} from '../core/index.js';
import { done, tried } from './command.js';
import { GATEWAY_TUNNEL, PORT_PREFIX } from './kernel-names.js';

/** For another that changes the rules at the same time to let go of the lock. */
const WAIT = ['-w', '10'];

/** While others change rules all the time, what is listed is taken as it is. */
const MOST_LOOKS = 3;
const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };
/** Of each family; Docker has that chain of IPv6 where it looks after it. */
const BOTH = ['iptables', 'ip6tables'] as const;
type Iptables = (typeof BOTH)[number];

/** Every link of a gateway network, as iptables names them. */
const LINKS = [`${PORT_PREFIX}+`, GATEWAY_TUNNEL];

/** What is in the table. */
interface Made {
  /** As we made it; undefined when an earlier process did. */
  filter: GatewayFilter | undefined;
  /** How nft tells it; undefined until it was asked after a change. */
  text: string | undefined;
  /** Of all rules of the host, when it was so; undefined when somebody else may have changed it in the same moment. */
  generation: number | undefined;
}

/**
 * The rules of a gateway network: a table of ours, and accepts in Docker's chain where there is one.
 *
 * The kernel counts the changes of whichever rules, and makes one under the condition that the count is as we know it. So
 * what is to change at once needs no look before it: what a look would find is looked for afterwards.
 */
export class PacketFilter {
  readonly #subnet: GatewaySubnet;
  #rules: Promise<Ruleset> | undefined;
  #wanted: GatewayFilter | undefined;
  /** Undefined when it is not known what is there: while it is written, or when that failed. */
  #made: Made | undefined;
  /** Changes that are made without a look, one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #isChanging = false;

  constructor(subnet: GatewaySubnet) {
    this.#subnet = subnet;
  }

  /**
   * Until it is told, what an earlier process left of the same network stays as it is: it works.
   *
   * @returns whether it is so by now, because only ports differ and nobody else has changed a rule; else `ensure` it
   */
  async want(filter: GatewayFilter): Promise<boolean> {
    this.#wanted = filter;
    const changing = this.#changing.then(() => this.#change(filter));
    this.#changing = changing;
    return await changing;
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

  /** The rules stay. */
  async close(): Promise<void> {
    await this.#changing;
    const rules = await this.#rules?.catch(() => undefined);
    await rules?.close();
  }

  async #change(filter: GatewayFilter): Promise<boolean> {
    const made = this.#made;
    if (made?.filter === undefined || made.generation === undefined) return false;
    const changes = gatewayPortChanges(made.filter, filter);
    if (changes === undefined) return false;
    if (changes.length === 0) return true;
    try {
      const rules = await this.#ruleset();
      // The table is being written anew at this moment.
      if (this.#made !== made) return false;
      this.#made = undefined;
      this.#isChanging = true;
      const generation = await rules.change(TABLE_NAME, changes.map(rulesetChange), made.generation);
      this.#made = generation === undefined ? made : { filter, text: undefined, generation };
      return generation !== undefined;
    } catch {
      // Nothing is changed; nft may be more able, or has better words for it.
      if (this.#isChanging) this.#made = made;
      return false;
    } finally {
      this.#isChanging = false;
    }
  }

  async #ensureTable(): Promise<string[]> {
    for (let looks = 1; ; looks++) {
      await this.#changing;
      const made = this.#made;
      const generation = await this.#generation();
      const isKnown = made?.generation === generation && made.text !== undefined;
      const present = isKnown ? made.text : await listTable();
      const isQuiet = isKnown || (await this.#generation()) === generation;
      if (this.#isChanging || this.#made !== made || (!isQuiet && looks < MOST_LOOKS)) continue;
      return await this.#putRight(made, present, isQuiet ? generation : undefined);
    }
  }

  /** @param generation  of the rules that are present; undefined when they change all the time */
  async #putRight(made: Made | undefined, present: string | undefined, generation: number | undefined) {
    if (made === undefined && this.#wanted === undefined && present?.includes(this.#subnet.subnet) === true) {
      this.#made = { filter: undefined, text: present, generation };
      return [];
    }
    const isOurs = made?.generation !== undefined && made.generation === generation;
    const isAsMade = made !== undefined && (isOurs || present === made.text);
    const wanted = this.#wanted ?? made?.filter ?? NO_FILTER;
    const isUpdate = isAsMade && made.filter !== undefined && made.filter.ipv6 === wanted.ipv6;
    const update = isUpdate && made.filter !== undefined ? gatewayRulesUpdate(made.filter, wanted) : undefined;
    if (update === '' || (isAsMade && this.#wanted === undefined)) {
      this.#made = { filter: made?.filter && wanted, text: present, generation };
      return [];
    }
    // Whatever becomes of it, what is there is not known until it is over.
    this.#made = undefined;
    await done('nft', ['-f', '-'], update ?? gatewayRules(this.#subnet, wanted));
    const text = await listTable();
    const next = generation === undefined ? undefined : generationAfter(generation);
    this.#made = { filter: wanted, text, generation: (await this.#generation()) === next ? next : undefined };
    if (isAsMade) return [];
    // Nobody had looked at it since it was changed: whether it was as it should be is known only now.
    const wasWell = made !== undefined && made.text === undefined && (present === text || made.filter !== wanted);
    return wasWell ? [] : [`nftables table "${TABLE}"`];
  }

  async #generation(): Promise<number> {
    return await (await this.#ruleset()).generation();
  }

  #ruleset(): Promise<Ruleset> {
    this.#rules ??= Ruleset.open().catch((error: unknown) => {
      this.#rules = undefined;
      throw error;
    });
    return this.#rules;
  }

  async #ensureAccepts(): Promise<string[]> {
    const hasIpv6 = (this.#wanted ?? this.#made?.filter)?.ipv6 !== undefined;
    const made = await Promise.all((hasIpv6 ? BOTH : BOTH.slice(0, 1)).map((program) => makeAccepts(program)));
    return made.includes(true) ? [`accepts in ${DOCKER_USER}`] : [];
  }
}

/** Takes away the rules of whatever gateway network there is. */
export async function removeRules(): Promise<void> {
  await done('nft', ['-f', '-'], withoutGatewayRules());
  for (const program of BOTH) {
    for (const call of presentAccepts((await dockerUser(program)) ?? '', LINKS))
      await done(program, [...WAIT, ...call]);
  }
}

/** @returns whether one was missing */
async function makeAccepts(program: Iptables): Promise<boolean> {
  const listing = await dockerUser(program);
  const calls = listing === undefined ? [] : missingAccepts(listing, LINKS);
  for (const call of calls) await done(program, [...WAIT, ...call]);
  return calls.length > 0;
}

function rulesetChange(change: PortChange): RulesetChange {
  switch (change.do) {
    case 'add-translation':
      return { ...change, protocol: protocolNumber(change.protocol) };
    case 'add-goto':
      return { ...change, key: keyBytes(change.key) };
    case 'delete-goto':
      return { ...change, key: keyBytes(change.key) };
    default:
      return change;
  }
}

function keyBytes({ hostAddress, protocol, port }: { hostAddress: string; protocol: string; port: number }) {
  const address = hostAddress === '' ? [] : [addressBytes(hostAddress)];
  return [...address, Uint8Array.of(protocolNumber(protocol)), Uint8Array.of(port >> 8, port & 0xff)];
}

/** @throws ApiaryError `invalid-argument` for one that is not published */
function protocolNumber(name: string): number {
  const number = PROTOCOL_NUMBERS[name];
  if (number === undefined) throw new ApiaryError('invalid-argument', `protocol "${name}" has no ports`);
  return number;
}

function listTable(): Promise<string | undefined> {
  return tried('nft', ['list', 'table', 'inet', TABLE_NAME]);
}

/** The rules of Docker's chain; undefined when there is none, or no iptables to make one with. */
async function dockerUser(program: Iptables): Promise<string | undefined> {
  try {
    return await tried(program, [...WAIT, '-S', DOCKER_USER]);
  } catch (error) {
    if (messageOf(error).endsWith('is not installed')) return undefined;
    throw error;
  }
}
