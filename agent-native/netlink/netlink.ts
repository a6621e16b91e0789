import type { NativeOutcome, NativeSocket } from '../binding.js';
import { KernelError, rethrow } from '../kernel-error.js';
import type { NamespaceRef } from '../namespace.js';
import { type Address, readAddress, writeAddressDump } from './address.js';
import { type Change, describe, writeChange } from './change.js';
import { AF_INET, AF_INET6 } from './ip-address.js';
import { type Link, readLink, writeLinkDump, writeLinkQuery } from './link.js';
import { type LinkRef, MessageWriter, messagesIn } from './message.js';
import {
  type FdbEntry,
  type Neighbour,
  readFdbEntry,
  readNeighbour,
  writeFdbDump,
  writeNeighbourDump,
} from './neighbour.js';
import { type Route, type RouteSettings, readRoute, writeRouteDump } from './route.js';
import { type Rule, readRule, writeRuleDump } from './rule.js';
import { openSocket } from './socket.js';

export const NETLINK_ROUTE = 0;
/** Room for the answers to a whole send, and for the largest messages of a dump. */
const RECEIVE_BYTES = 1 << 20;
/** A dump during which a table changes is begun again; by then it has been asked for so often that something is wrong. */
const DUMP_ATTEMPTS = 20;
/** What is written or read at once: a few milliseconds, so that the event loop is never held up by a large table. */
const SLICE = 1000;
const ENOENT = 2;
const ENODEV = 19;
const EINTR = 4;

/** `ipv4`, `ipv6`, or both when it is left out. */
export interface FamilyFilter {
  family?: 'ipv4' | 'ipv6';
}

/**
 * A connection to the kernel's network configuration, in one network namespace: this process's, or the one given.
 *
 * Everything is asynchronous, in order, on a thread of the connection's own. It costs a descriptor and a thread until it
 * is closed, and keeps its namespace alive.
 */
export class Netlink {
  readonly #socket: NativeSocket;

  private constructor(socket: NativeSocket) {
    this.#socket = socket;
  }

  /** @throws KernelError when there is no such namespace, or it may not be entered */
  static async open(options: { namespace?: NamespaceRef } = {}): Promise<Netlink> {
    return new Netlink(await openSocket(NETLINK_ROUTE, RECEIVE_BYTES, options.namespace));
  }

  /** Ends the connection, after everything that was asked of it before. */
  async close(): Promise<void> {
    await this.#socket.close();
  }

  /**
   * Makes changes in order until one is refused; those before it stay made. A thousand and less go to the kernel in one
   * call, with nothing of other callers between them.
   *
   * @throws KernelError of the change that was refused, whose `operation` describes it
   */
  async apply(changes: readonly Change[]): Promise<void> {
    for (let first = 0; first < changes.length; first += SLICE) {
      const slice = changes.slice(first, first + SLICE);
      const [error] = (await this.#run(slice, true)).errors;
      if (error !== undefined) throw errorOf(slice, error);
    }
  }

  /**
   * Makes all changes, whatever becomes of each, many in one message.
   *
   * @returns what was refused, at the places of the changes; undefined where all went well
   */
  async tryAll(changes: readonly Change[]): Promise<(KernelError | undefined)[]> {
    const errors = new Array<KernelError | undefined>(changes.length).fill(undefined);
    for (let first = 0; first < changes.length; first += SLICE) {
      const slice = changes.slice(first, first + SLICE);
      for (const error of (await this.#run(slice, false)).errors) errors[first + error.message] = errorOf(slice, error);
    }
    return errors;
  }

  async #run(changes: readonly Change[], isStopping: boolean): Promise<NativeOutcome> {
    const writer = new MessageWriter();
    for (const change of changes) writeChange(writer, change);
    return await this.#socket.run(...writer.finish(), isStopping).catch((error) => rethrow(error));
  }

  /** Every link, or the ports of a bridge, or those of a kind. */
  async links(filter: { master?: LinkRef; kind?: string } = {}): Promise<Link[]> {
    return await this.#dump('list links', [(writer) => writeLinkDump(writer, filter)], readLink);
  }

  /** One link; undefined when there is none of that name or index. */
  async link(ref: LinkRef): Promise<Link | undefined> {
    const writer = new MessageWriter();
    writeLinkQuery(writer, ref);
    const { errors, replies } = await this.#socket.run(...writer.finish(), true).catch((error) => rethrow(error));
    const [error] = errors;
    if (error?.errno === ENODEV) return undefined;
    if (error !== undefined) throw new KernelError(error.errno, `find link ${ref}`, error.text);
    return replies.flatMap(({ bytes }) => [...messagesIn(bytes)].flatMap(({ body }) => readLink(body) ?? []))[0];
  }

  async addresses(filter: FamilyFilter & { link?: LinkRef } = {}): Promise<Address[]> {
    const dumps = families(filter).map(
      (family) => (writer: MessageWriter) => writeAddressDump(writer, family, filter.link),
    );
    return await this.#dump('list addresses', dumps, readAddress);
  }

  /** Routes of every table, or of one; a table that does not exist is empty. */
  async routes(filter: FamilyFilter & Pick<RouteSettings, 'table' | 'link' | 'protocol'> = {}): Promise<Route[]> {
    const dumps = families(filter).map((family) => (writer: MessageWriter) => writeRouteDump(writer, family, filter));
    return await this.#dump('list routes', dumps, readRoute);
  }

  async rules(filter: FamilyFilter = {}): Promise<Rule[]> {
    const dumps = families(filter).map((family) => (writer: MessageWriter) => writeRuleDump(writer, family));
    return await this.#dump('list rules', dumps, readRule);
  }

  /** Neighbours; with `isProxy` the addresses that the host answers for instead. */
  async neighbours(filter: FamilyFilter & { link?: LinkRef; isProxy?: boolean } = {}): Promise<Neighbour[]> {
    const dumps = families(filter).map(
      (family) => (writer: MessageWriter) => writeNeighbourDump(writer, family, filter),
    );
    return await this.#dump('list neighbours', dumps, readNeighbour);
  }

  /** Forwarding entries of everything, of the ports of a bridge, or of one link. */
  async fdb(filter: { link?: LinkRef; bridge?: LinkRef } = {}): Promise<FdbEntry[]> {
    return await this.#dump('list FDB entries', [(writer) => writeFdbDump(writer, filter)], readFdbEntry);
  }

  async #dump<Row>(
    operation: string,
    dumps: readonly ((writer: MessageWriter) => void)[],
    read: (body: Buffer) => Row | undefined,
  ): Promise<Row[]> {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const writer = new MessageWriter();
      for (const dump of dumps) dump(writer);
      const outcome = await this.#socket.run(...writer.finish(), false).catch((error) => rethrow(error, operation));
      const error = outcome.errors.find(({ errno }) => errno !== ENOENT);
      if (error !== undefined) throw new KernelError(error.errno, operation, error.text);
      if (outcome.interrupted.length > 0) continue;
      const rows: Row[] = [];
      for (const { bytes } of outcome.replies) {
        for (const { body } of messagesIn(bytes)) {
          const row = read(body);
          if (row !== undefined && rows.push(row) % SLICE === 0) await new Promise((resume) => setImmediate(resume));
        }
      }
      return rows;
    }
    throw new KernelError(EINTR, operation, `changed during each of ${DUMP_ATTEMPTS} attempts`);
  }
}

function families({ family }: FamilyFilter): number[] {
  if (family !== undefined && family !== 'ipv4' && family !== 'ipv6') {
    throw new TypeError(`a family is ipv4 or ipv6, not ${String(family)}`);
  }
  return family === undefined ? [AF_INET, AF_INET6] : [family === 'ipv4' ? AF_INET : AF_INET6];
}

function errorOf(changes: readonly Change[], error: NativeOutcome['errors'][number]): KernelError {
  const change = changes[error.message];
  return new KernelError(error.errno, change === undefined ? 'change the network' : describe(change), error.text);
}
