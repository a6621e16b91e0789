import { createKeyAndCsr } from '@apiary/api/client';
import type { MemberId, Message } from '@apiary/raft/core';
import type { Accepted, TransportReceiver } from '@apiary/raft/io';
import { SeededRng } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { pino } from 'pino';
import type { Test } from 'tap';
import { ListReplica } from '../rpc/list-replica.js';
import { type RpcServer, startRpcServer } from '../rpc/server.js';
import { issueCertificate, type RootCa } from '../trust/authority.js';
import type { ManagerIdentity } from './peer-credentials.js';
import { RaftTransport } from './transport.js';

const DAY_MS = 24 * 3600 * 1000;

export interface CertificateWish {
  role?: 'worker' | 'manager';
  clusterId?: string;
  issuedMs?: number;
}

export function identityOf(rootCa: RootCa, nodeId: string, wish: CertificateWish = {}): ManagerIdentity {
  const { role = 'manager', clusterId = 'c1', issuedMs = Date.now() } = wish;
  const { keyPem, csrPem } = createKeyAndCsr();
  const order = { rootCa, csrPem, nodeId, role, clusterId, validityMs: DAY_MS, nowMs: issuedMs };
  return {
    nodeId,
    clusterId,
    certificateChainPem: issueCertificate(order),
    keyPem,
    rootPem: rootCa.certificatePem,
  };
}

/** Waits until `holds`, which is looked at again whenever something is `noted`. */
export class Noticeboard {
  #waiting: { holds: () => boolean; resolve: () => void }[] = [];

  noted(): void {
    this.#waiting = this.#waiting.filter(({ holds, resolve }) => {
      if (!holds()) return true;
      resolve();
      return false;
    });
  }

  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ holds, resolve });
      this.noted();
    });
  }
}

/** A manager's wire over real sockets and TLS; the log behind it is what the test wants. */
export class TestMember implements TransportReceiver {
  readonly id: MemberId;
  readonly replica = new ListReplica(new SystemClock());
  readonly transport: RaftTransport;
  readonly received: Message[] = [];
  readonly lost: MemberId[] = [];
  readonly logged: { msg: string; peer?: string; reason?: string }[] = [];
  /** What peers said of where they are. */
  readonly said: [MemberId, string][] = [];
  readonly board = new Noticeboard();
  identity: ManagerIdentity;
  /** Where the others are by the records. */
  records = new Map<MemberId, string>();
  accepts: (entry: Uint8Array) => Promise<Accepted> = async () => ({ index: 1, term: 1 });
  #server: RpcServer | undefined;

  /** @param options.log  another receiver is going to be started */
  constructor(identity: ManagerIdentity, { log = false }: { log?: boolean } = {}) {
    this.id = identity.nodeId;
    this.identity = identity;
    const stream = {
      write: (line: string) => {
        this.logged.push(JSON.parse(line));
        this.board.noted();
      },
    };
    this.transport = new RaftTransport({
      identity: () => this.identity,
      addressOf: (id) => this.records.get(id),
      ownAddr: () => this.#server?.addr,
      onAddress: (id, addr) => {
        this.said.push([id, addr]);
        this.board.noted();
      },
      clock: new SystemClock(),
      rng: new SeededRng(1),
      logger: pino({ level: 'info' }, stream),
    });
    if (!log) this.transport.start(this);
  }

  get addr(): string {
    return this.#server?.addr ?? '';
  }

  async listen(t: Test, listenAddr = '127.0.0.1:0'): Promise<void> {
    const { replica, transport, identity } = this;
    const services = [transport.service];
    this.#server = await startRpcServer({ listenAddr, identity, services, replica, clock: new SystemClock() });
    t.teardown(() => this.stop());
  }

  async stopListening(): Promise<void> {
    await this.#server?.close();
  }

  async stop(): Promise<void> {
    await this.transport.close();
    await this.stopListening();
  }

  receive(message: Message): void {
    this.received.push(message);
    this.board.noted();
  }

  unreachable(peer: MemberId): void {
    this.lost.push(peer);
    this.board.noted();
  }

  accept(entry: Uint8Array): Promise<Accepted> {
    return this.accepts(entry);
  }

  /** Resolves once a message for which `holds` has come in. */
  got(holds: (message: Message) => boolean): Promise<void> {
    return this.board.until(() => this.received.some(holds));
  }

  /** Resolves once something was logged that matches. */
  async hasLogged(pattern: RegExp): Promise<void> {
    await this.board.until(() => this.logged.some(({ msg, reason }) => pattern.test(`${msg} ${reason ?? ''}`)));
  }
}
