import type { NativeSocket } from '../binding.js';
import { KernelError, rethrow } from '../kernel-error.js';
import type { NamespaceRef } from '../namespace.js';
import { AF_INET, AF_INET6, parseIp } from './ip-address.js';
import { attributesIn, MessageWriter, messagesIn, NLM_F_APPEND, NLM_F_CREATE } from './message.js';
import { openSocket } from './socket.js';

const NETLINK_NETFILTER = 12;
const RECEIVE_BYTES = 1 << 20;
/** NFNL_SUBSYS_NFTABLES. */
const SUBSYSTEM = 10;
const message = (number: number) => (SUBSYSTEM << 8) | number;
const MESSAGE = {
  newChain: message(3),
  deleteChain: message(5),
  newRule: message(6),
  deleteRule: message(8),
  newSet: message(9),
  newElement: message(12),
  deleteElement: message(14),
  newGeneration: message(15),
  getGeneration: message(16),
} as const;
const BATCH = { begin: 16, end: 17, generation: 1 } as const;
/** NFPROTO_INET: a table for IPv4 and IPv6. */
const INET = 1;
const HEADER_BYTES = 4;
const GENERATION_ID = 1;
const ERESTART = 85;
const CHAIN = { table: 1, name: 3 } as const;
const RULE = { table: 1, chain: 2, expressions: 4 } as const;
const SET = {
  table: 1,
  name: 2,
  flags: 3,
  keyType: 4,
  keyBytes: 5,
  dataType: 6,
  dataBytes: 7,
  description: 9,
  id: 10,
  userData: 13,
} as const;
/** Anonymous, constant, a map. */
const ANONYMOUS_MAP = 1 | 2 | 8;
/** The kernel gives it a number of its own. */
const ANONYMOUS_NAME = '__map%d';
const ELEMENTS = { table: 1, set: 2, elements: 3, setId: 4 } as const;
const ELEMENT = { key: 1, data: 2 } as const;
const LIST_ITEM = 1;
const EXPRESSION = { name: 1, data: 2 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT = { code: 1, chain: 2 } as const;
const NFT_GOTO = -4 >>> 0;
const NFT_META_L4PROTO = 16;
const NAT = { type: 1, family: 2, address: 3, port: 5, flags: 7, destination: 1, hasPort: 2 } as const;
/** The first register of 16 bytes, and how many of four come before it. */
const REGISTER = 1;
const REGISTERS_BEFORE = 8;
/** Types of data as nft numbers and joins them, by which it tells them. */
const TYPE = { integer: 4, inetService: 13, ipv4: 7, ipv6: 8, bitsEach: 6 } as const;
/** What nft notes of such a map: that its keys are integers of this machine. */
const USER_DATA = Uint8Array.of(0, 4, 1, 0, 0, 0, 1, 4, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0);
/** A list of elements is one attribute, whose length is 16 bits. */
const MOST_TARGETS = 500;

/** Where packets are led to: addresses of one family. */
export interface TranslationTarget {
  address: string;
  port: number;
}

/**
 * A change of a table of the family `inet`.
 *
 * - `add-translation`: a rule that gives the packets of a protocol (its number) another destination, one connection after
 *   the other; as nft writes `meta l4proto tcp dnat ip to ...`.
 * - `add-goto`, `delete-goto`: an element of a map of verdicts; each part of its key in network order.
 */
export type RulesetChange =
  | { do: 'add-chain' | 'flush-chain' | 'delete-chain'; chain: string }
  | { do: 'add-translation'; chain: string; protocol: number; targets: readonly TranslationTarget[] }
  | { do: 'add-goto'; map: string; key: readonly Uint8Array[]; chain: string }
  | { do: 'delete-goto'; map: string; key: readonly Uint8Array[] };

/**
 * The rules of nftables in one network namespace: this process's, or the one given. As with Netlink, it costs a
 * descriptor and a thread until it is closed.
 */
export class Ruleset {
  readonly #socket: NativeSocket;

  private constructor(socket: NativeSocket) {
    this.#socket = socket;
  }

  /** @throws KernelError when there is no such namespace */
  static async open(options: { namespace?: NamespaceRef } = {}): Promise<Ruleset> {
    return new Ruleset(await openSocket(NETLINK_NETFILTER, RECEIVE_BYTES, options.namespace));
  }

  /** Ends the connection, after everything that was asked of it before. */
  async close(): Promise<void> {
    await this.#socket.close();
  }

  /**
   * A number that is another after each change of whichever rules of the namespace, by whomever.
   *
   * @throws KernelError when the kernel has no nftables
   */
  async generation(): Promise<number> {
    const writer = new MessageWriter();
    writer.message(MESSAGE.getGeneration, 0, undefined, () => writeHeader(writer));
    const { errors, replies } = await this.#socket.run(...writer.finish(), true).catch((error) => rethrow(error));
    const [error] = errors;
    if (error !== undefined) throw new KernelError(error.errno, 'ask for the generation of the rules', error.text);
    for (const { bytes } of replies) {
      for (const { type, body } of messagesIn(bytes)) {
        const id = type === MESSAGE.newGeneration ? attributesIn(body, HEADER_BYTES).get(GENERATION_ID) : undefined;
        if (id !== undefined) return id.readUInt32BE();
      }
    }
    throw new KernelError(0, 'ask for the generation of the rules', 'no answer');
  }

  /**
   * Makes all of the changes at once, if the rules are those of a generation.
   *
   * @returns the generation that it makes; undefined, and nothing is changed, when the rules are of another than was said
   * @throws KernelError of the change that was refused; nothing is changed
   * @throws RangeError for a translation to more than 500 targets
   */
  async change(table: string, changes: readonly RulesetChange[], generation: number): Promise<number | undefined> {
    const writer = new MessageWriter();
    const owners: string[] = ['change the rules'];
    writeBatchEnd(writer, BATCH.begin, () => writer.attributeBe32(BATCH.generation, generation));
    for (const [i, change] of changes.entries()) {
      writeChange(writer, table, change, i + 1);
      while (owners.length < writer.count) owners.push(`${change.do} in table "${table}"`);
    }
    writeBatchEnd(writer, BATCH.end);
    const [messages, plans] = writer.finish();
    const { errors } = await this.#socket.transact(messages, plans).catch((error) => rethrow(error));
    const [error] = errors;
    if (error === undefined) return generationAfter(generation);
    if (error.errno === ERESTART) return undefined;
    throw new KernelError(error.errno, owners[error.message] ?? 'change the rules', error.text);
  }
}

/** The generation that one change makes of another. */
export function generationAfter(generation: number): number {
  return (generation + 1) >>> 0 || 1;
}

/** An nfgenmsg. */
function writeHeader(writer: MessageWriter): void {
  writer.u8(INET);
  writer.u8(0);
  writer.u16(0);
}

function writeBatchEnd(writer: MessageWriter, type: number, attributes = () => {}): void {
  writer.message(type, 0, undefined, () => {
    writer.u8(0);
    writer.u8(0);
    // Whose batch it is, in network order.
    writer.u16(SUBSYSTEM << 8);
    attributes();
  });
}

function writeChange(writer: MessageWriter, table: string, change: RulesetChange, id: number): void {
  const send = (type: number, flags: number, attributes: () => void) =>
    writer.message(type, flags, undefined, () => {
      writeHeader(writer);
      writer.attributeText(CHAIN.table, table);
      attributes();
    });
  switch (change.do) {
    case 'add-chain':
      send(MESSAGE.newChain, NLM_F_CREATE, () => writer.attributeText(CHAIN.name, change.chain));
      break;
    case 'delete-chain':
      send(MESSAGE.deleteChain, 0, () => writer.attributeText(CHAIN.name, change.chain));
      break;
    case 'flush-chain':
      send(MESSAGE.deleteRule, 0, () => writer.attributeText(RULE.chain, change.chain));
      break;
    case 'add-translation':
      if (change.targets.length === 0 || change.targets.length > MOST_TARGETS) {
        throw new RangeError(`a translation leads to 1 to ${MOST_TARGETS} targets, not ${change.targets.length}`);
      }
      if (change.targets.length > 1) writeTargets(send, writer, change.targets, id);
      send(MESSAGE.newRule, NLM_F_CREATE | NLM_F_APPEND, () => {
        writer.attributeText(RULE.chain, change.chain);
        writer.nested(RULE.expressions, () => writeTranslation(writer, change.protocol, change.targets, id));
      });
      break;
    case 'add-goto':
      send(MESSAGE.newElement, NLM_F_CREATE, () => {
        writer.attributeText(ELEMENTS.set, change.map);
        writeElements(writer, [{ key: change.key, goto: change.chain }]);
      });
      break;
    case 'delete-goto':
      send(MESSAGE.deleteElement, 0, () => {
        writer.attributeText(ELEMENTS.set, change.map);
        writeElements(writer, [{ key: change.key }]);
      });
      break;
  }
}

/** The map by which a rule of several targets finds the next. */
function writeTargets(
  send: (type: number, flags: number, attributes: () => void) => void,
  writer: MessageWriter,
  targets: readonly TranslationTarget[],
  id: number,
): void {
  const { bytes } = parseIp(targets[0]?.address ?? '');
  send(MESSAGE.newSet, NLM_F_CREATE, () => {
    writer.attributeText(SET.name, ANONYMOUS_NAME);
    writer.attributeBe32(SET.flags, ANONYMOUS_MAP);
    writer.attributeBe32(SET.keyType, TYPE.integer);
    writer.attributeBe32(SET.keyBytes, 4);
    const address = bytes.length === 4 ? TYPE.ipv4 : TYPE.ipv6;
    writer.attributeBe32(SET.dataType, (address << TYPE.bitsEach) | TYPE.inetService);
    writer.attributeBe32(SET.dataBytes, bytes.length + 4);
    writer.attributeBe32(SET.id, id);
    // Of a known size it is one that is looked up faster.
    writer.nested(SET.description, () => writer.attributeBe32(1, targets.length));
    writer.attributeBytes(SET.userData, USER_DATA);
  });
  send(MESSAGE.newElement, NLM_F_CREATE, () => {
    writer.attributeText(ELEMENTS.set, ANONYMOUS_NAME);
    writer.attributeBe32(ELEMENTS.setId, id);
    const elements = targets.map(({ address, port }, place) => ({
      key: [Uint8Array.of(place & 0xff, place >> 8, 0, 0)],
      data: [parseIp(address).bytes, Uint8Array.of(port >> 8, port & 0xff)],
    }));
    writeElements(writer, elements);
  });
}

interface Element {
  key: readonly Uint8Array[];
  data?: readonly Uint8Array[];
  goto?: string;
}

function writeElements(writer: MessageWriter, elements: readonly Element[]): void {
  writer.nested(ELEMENTS.elements, () => {
    for (const { key, data, goto } of elements) {
      writer.nested(LIST_ITEM, () => {
        writer.nested(ELEMENT.key, () => writer.attributeBytes(DATA.value, joined(key)));
        if (data !== undefined) writer.nested(ELEMENT.data, () => writer.attributeBytes(DATA.value, joined(data)));
        if (goto !== undefined) {
          writer.nested(ELEMENT.data, () =>
            writer.nested(DATA.verdict, () => {
              writer.attributeBe32(VERDICT.code, NFT_GOTO);
              writer.attributeText(VERDICT.chain, goto);
            }),
          );
        }
      });
    }
  });
}

/** Each part of a concatenation takes a multiple of four bytes. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.alloc(parts.reduce((sum, { length }) => sum + ((length + 3) & ~3), 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += (part.length + 3) & ~3;
  }
  return bytes;
}

function writeTranslation(
  writer: MessageWriter,
  protocol: number,
  targets: readonly TranslationTarget[],
  id: number,
): void {
  const expression = (name: string, data: () => void) =>
    writer.nested(LIST_ITEM, () => {
      writer.attributeText(EXPRESSION.name, name);
      writer.nested(EXPRESSION.data, data);
    });
  const immediate = (register: number, bytes: Uint8Array) =>
    expression('immediate', () => {
      writer.attributeBe32(1, register);
      writer.nested(2, () => writer.attributeBytes(DATA.value, bytes));
    });
  expression('meta', () => {
    writer.attributeBe32(2, NFT_META_L4PROTO);
    writer.attributeBe32(1, REGISTER);
  });
  expression('cmp', () => {
    writer.attributeBe32(1, REGISTER);
    // NFT_CMP_EQ.
    writer.attributeBe32(2, 0);
    writer.nested(3, () => writer.attributeBytes(DATA.value, Uint8Array.of(protocol)));
  });
  const [{ address, port } = { address: '', port: 0 }] = targets;
  const { family, bytes } = parseIp(address);
  const isOnly = targets.length === 1;
  const portRegister = isOnly ? REGISTER + 1 : REGISTERS_BEFORE + bytes.length / 4;
  if (isOnly) {
    immediate(REGISTER, bytes);
    immediate(portRegister, Uint8Array.of(port >> 8, port & 0xff));
  } else {
    expression('numgen', () => {
      writer.attributeBe32(1, REGISTER);
      writer.attributeBe32(2, targets.length);
      // NFT_NG_INCREMENTAL, from 0.
      writer.attributeBe32(3, 0);
      writer.attributeBe32(4, 0);
    });
    expression('lookup', () => {
      writer.attributeBe32(2, REGISTER);
      writer.attributeBe32(3, REGISTER);
      writer.attributeText(1, ANONYMOUS_NAME);
      writer.attributeBe32(4, id);
    });
  }
  expression('nat', () => {
    writer.attributeBe32(NAT.type, NAT.destination);
    writer.attributeBe32(NAT.family, family === AF_INET ? AF_INET : AF_INET6);
    writer.attributeBe32(NAT.address, REGISTER);
    writer.attributeBe32(NAT.port, portRegister);
    if (isOnly) writer.attributeBe32(NAT.flags, NAT.hasPort);
  });
}
