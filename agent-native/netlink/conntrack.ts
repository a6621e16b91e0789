import type { NativeSocket } from '../binding.js';
import { KernelError, rethrow } from '../kernel-error.js';
import type { NamespaceRef } from '../namespace.js';
import { AF_INET, AF_INET6, formatIp, parseIp } from './ip-address.js';
import { attributesIn, MessageWriter, messagesIn } from './message.js';
import { openSocket } from './socket.js';

const NETLINK_NETFILTER = 12;
/** NFNL_SUBSYS_CTNETLINK. */
const CONNTRACK = 1 << 8;
const NEW = CONNTRACK | 0;
const GET = CONNTRACK | 1;
const DELETE = CONNTRACK | 2;
/** Of an nfgenmsg. */
const HEADER_BYTES = 4;
const CTA = { tupleOriginal: 1, tupleReply: 2, mark: 8 } as const;
const TUPLE = { ip: 1, protocol: 2 } as const;
const IP = {
  ipv4: { family: AF_INET, source: 1, destination: 2 },
  ipv6: { family: AF_INET6, source: 3, destination: 4 },
} as const;
type Family = keyof typeof IP;
const PROTOCOL = { number: 1, sourcePort: 2, destinationPort: 3 } as const;
const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };
const RECEIVE_BYTES = 1 << 20;
const ENOENT = 2;
/** How many are forgotten in one call. */
const SLICE = 500;

/** One direction of a flow, as its packets say it. */
export interface FlowEnd {
  source: string;
  sourcePort: number;
  destination: string;
  destinationPort: number;
}

/** What the kernel remembers of a flow. NAT is what makes `reply` more than `original` turned around. */
export interface Flow {
  protocol: 'tcp' | 'udp' | 'sctp';
  original: FlowEnd;
  reply: FlowEnd;
  mark: number;
}

/**
 * The flows that the kernel tracks in one network namespace: this process's, or the one given. As with Netlink, it costs
 * a descriptor and a thread until it is closed.
 */
export class Conntrack {
  readonly #socket: NativeSocket;

  private constructor(socket: NativeSocket) {
    this.#socket = socket;
  }

  /** @throws KernelError when there is no such namespace, or the kernel cannot tell of its flows */
  static async open(options: { namespace?: NamespaceRef } = {}): Promise<Conntrack> {
    return new Conntrack(await openSocket(NETLINK_NETFILTER, RECEIVE_BYTES, options.namespace));
  }

  /** Ends the connection, after everything that was asked of it before. */
  async close(): Promise<void> {
    await this.#socket.close();
  }

  /** The flows of a protocol, of one family. What changes meanwhile may be in it or not. */
  async flows(protocol: Flow['protocol'], family: Family = 'ipv4'): Promise<Flow[]> {
    const writer = new MessageWriter();
    writer.dump(GET, () => writeHeader(writer, family));
    const { errors, replies } = await this.#socket.run(...writer.finish(), true).catch((error) => rethrow(error));
    const [error] = errors;
    if (error !== undefined) throw new KernelError(error.errno, 'list flows', error.text);
    const flows: Flow[] = [];
    for (const { bytes } of replies) {
      for (const { type, body } of messagesIn(bytes)) {
        const flow = type === NEW ? readFlow(body, family) : undefined;
        if (flow?.protocol === protocol) flows.push(flow);
      }
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return flows;
  }

  /** Forgets flows: their next packet is as the first of a new one. Those that have ended meanwhile are passed over. */
  async forget(flows: readonly Flow[]): Promise<void> {
    for (let first = 0; first < flows.length; first += SLICE) {
      const writer = new MessageWriter();
      for (const flow of flows.slice(first, first + SLICE)) writeDeletion(writer, flow);
      const { errors } = await this.#socket.run(...writer.finish(), false).catch((error) => rethrow(error));
      const error = errors.find(({ errno }) => errno !== ENOENT);
      if (error !== undefined) throw new KernelError(error.errno, 'forget flow', error.text);
    }
  }
}

/** An nfgenmsg. */
function writeHeader(writer: MessageWriter, family: Family): void {
  writer.u8(IP[family].family);
  writer.u8(0);
  writer.u16(0);
}

function writeDeletion(writer: MessageWriter, { protocol, original }: Flow): void {
  const number = PROTOCOLS[protocol];
  if (number === undefined) throw new TypeError(`"${protocol}" is no protocol of flows`);
  const family = original.source.includes(':') ? 'ipv6' : 'ipv4';
  writer.message(DELETE, 0, undefined, () => {
    writeHeader(writer, family);
    writer.nested(CTA.tupleOriginal, () => {
      writer.nested(TUPLE.ip, () => {
        writer.attributeBytes(IP[family].source, parseIp(original.source).bytes);
        writer.attributeBytes(IP[family].destination, parseIp(original.destination).bytes);
      });
      writer.nested(TUPLE.protocol, () => {
        writer.attributeU8(PROTOCOL.number, number);
        writer.attributeBe16(PROTOCOL.sourcePort, original.sourcePort);
        writer.attributeBe16(PROTOCOL.destinationPort, original.destinationPort);
      });
    });
  });
}

/** Undefined for what is no flow with ports of the family. */
function readFlow(body: Buffer, family: Family): Flow | undefined {
  if (body.length < HEADER_BYTES || body.readUInt8(0) !== IP[family].family) return undefined;
  const attributes = attributesIn(body, HEADER_BYTES);
  const original = readTuple(attributes.get(CTA.tupleOriginal), family);
  const reply = readTuple(attributes.get(CTA.tupleReply), family);
  if (original === undefined || reply === undefined) return undefined;
  const mark = attributes.get(CTA.mark)?.readUInt32BE() ?? 0;
  return { protocol: original.protocol, original: original.end, reply: reply.end, mark };
}

function readTuple(
  bytes: Buffer | undefined,
  family: Family,
): { protocol: Flow['protocol']; end: FlowEnd } | undefined {
  if (bytes === undefined) return undefined;
  const tuple = attributesIn(bytes);
  const ip = attributesIn(tuple.get(TUPLE.ip) ?? Buffer.alloc(0));
  const transport = attributesIn(tuple.get(TUPLE.protocol) ?? Buffer.alloc(0));
  const number = transport.get(PROTOCOL.number)?.readUInt8();
  const protocol = (['tcp', 'udp', 'sctp'] as const).find((name) => PROTOCOLS[name] === number);
  const [source, destination] = [ip.get(IP[family].source), ip.get(IP[family].destination)];
  const [sourcePort, destinationPort] = [transport.get(PROTOCOL.sourcePort), transport.get(PROTOCOL.destinationPort)];
  if (protocol === undefined || !source || !destination || !sourcePort || !destinationPort) return undefined;
  const end = {
    source: formatIp(source),
    sourcePort: sourcePort.readUInt16BE(),
    destination: formatIp(destination),
    destinationPort: destinationPort.readUInt16BE(),
  };
  return { protocol, end };
}
