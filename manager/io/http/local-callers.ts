import { readFileSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Asker } from './audit-log.js';

/** Who is at the other end of a unix socket, by the kernel; undefined when it does not say. */
export type PeerOf = (socket: Socket) => { pid: number; uid: number } | undefined;

const ACCOUNTS = '/etc/passwd';

/** Names those who come over the sockets of this host. */
export class LocalCallers {
  readonly #peerOf: PeerOf;
  readonly #accounts: string;
  /** By connection: the process may be gone, and its socket closed, when the call is noted. */
  readonly #askers = new WeakMap<Socket, Asker>();
  #names: { readMs: number; ofUid: ReadonlyMap<string, string> } = { readMs: 0, ofUid: new Map() };

  constructor(peerOf: PeerOf = () => undefined, accounts = ACCOUNTS) {
    this.#peerOf = peerOf;
    this.#accounts = accounts;
  }

  /** `alice (uid 1000)`, and the process; `local` when the kernel does not say; `anonymous` for who comes over TCP. */
  asker(socket: Socket): Asker {
    const known = this.#askers.get(socket);
    if (known !== undefined) return known;
    const asker = this.#look(socket);
    this.#askers.set(socket, asker);
    return asker;
  }

  #look(socket: Socket): Asker {
    if (socket.remoteAddress !== undefined) {
      return { who: 'anonymous', from: `${socket.remoteAddress}:${socket.remotePort}` };
    }
    const peer = this.#peerOf(socket);
    if (peer === undefined) return { who: 'local', from: 'unix' };
    const { pid, uid } = peer;
    const name = this.#nameOf(uid);
    return {
      who: name === undefined ? `uid ${uid}` : `${name} (uid ${uid})`,
      from: pid > 0 ? `unix, process ${pid}` : 'unix',
    };
  }

  #nameOf(uid: number): string | undefined {
    try {
      const { mtimeMs } = statSync(this.#accounts);
      if (mtimeMs !== this.#names.readMs) {
        const lines = readFileSync(this.#accounts, 'utf8').split('\n');
        const accounts = lines.map((line) => line.split(':')).filter(({ length }) => length > 2);
        // Of several names of one account, the first is the one that the system's tools show.
        const ofUid = new Map(accounts.reverse().map(([name = '', , id = '']) => [id, name]));
        this.#names = { readMs: mtimeMs, ofUid };
      }
      return this.#names.ofUid.get(String(uid));
    } catch {
      return undefined;
    }
  }
}
