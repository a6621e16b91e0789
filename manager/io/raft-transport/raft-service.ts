import { rpcStatusOf } from '@apiary/api/client';
import type { Finished } from '@apiary/api/rpc';
import { readMessage } from '@apiary/raft/core';
import type { Accepted, TransportReceiver } from '@apiary/raft/io';
import { ApiaryError } from '@apiary/std';
import type { ServerDuplexStream, ServerReadableStream, sendUnaryData } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { callerOf } from '../rpc/caller.js';
import type { RpcService } from '../rpc/server.js';
import { ANSWER_CODEC, type ForwardAnswer, readForwarded } from './forwarding.js';
import { decodeFrame, FrameReader, framedBytes } from './frame.js';
import { FramePump } from './frame-pump.js';
import type { Source } from './outbox.js';
import { newerVersion, RAW_RAFT_SERVICE, readGreeting, WIRE_VERSION, writeGreeting } from './wire.js';

export interface RaftServiceOptions {
  nodeId: () => string;
  /** Undefined until the log has been started. */
  receiver: () => TransportReceiver | undefined;
  ownAddr: () => string | undefined;
  /** A peer has opened its stream of messages, and said where it is. */
  onPeer(peer: string, addr: string | undefined): void;
  logger: Logger;
}

interface Peer {
  id: string;
  receiver: TransportReceiver;
}

type IncomingCall = ServerReadableStream<Buffer, Finished> | ServerDuplexStream<Buffer, Buffer>;

/** What the other managers' streams lead to. Who speaks is known by the certificate; all else is read with care. */
export class RaftService {
  readonly #options: RaftServiceOptions;
  /** What each peer's last stream was refused for: said once, and not at each of its tries. */
  readonly #refusals = new Map<string, string>();

  constructor(options: RaftServiceOptions) {
    this.#options = options;
  }

  get service(): RpcService {
    return {
      definition: RAW_RAFT_SERVICE,
      implementation: {
        messages: (call: ServerReadableStream<Buffer, Finished>, callback: sendUnaryData<Finished>) =>
          this.#receive(call, callback, (peer, addr) => this.#options.onPeer(peer, addr)),
        snapshots: (call: ServerReadableStream<Buffer, Finished>, callback: sendUnaryData<Finished>) =>
          this.#receive(call, callback),
        forward: (call: ServerDuplexStream<Buffer, Buffer>) => this.#accept(call),
      },
      access: 'member',
    };
  }

  #receive(
    call: ServerReadableStream<Buffer, Finished>,
    callback: sendUnaryData<Finished>,
    onOpen: (peer: string, addr: string | undefined) => void = () => undefined,
  ): void {
    const to = this.#options.nodeId();
    this.#read(
      call,
      (error) => (error === undefined ? callback(null, {}) : callback(rpcStatusOf(error))),
      ({ id, receiver }, item) => receiver.receive(readMessage(item, { from: id, to })),
      onOpen,
    );
  }

  #accept(call: ServerDuplexStream<Buffer, Buffer>): void {
    const answers = new Answers();
    const pump = new FramePump(answers, ANSWER_CODEC, (frame, onWritten) => {
      call.write(frame, onWritten);
    });
    const end = (error: ApiaryError | undefined): void => {
      pump.stop();
      if (error === undefined) call.end();
      else call.emit('error', rpcStatusOf(error));
    };
    const answer = (id: number, outcome: Accepted | ApiaryError): void => {
      answers.push({ id, outcome });
      pump.wake();
    };
    for (const event of ['cancelled', 'error', 'close']) call.on(event, () => pump.stop());
    this.#read(call, end, ({ id: peer, receiver }, item) => {
      const { id, entry } = readForwarded(item);
      // Called within the promise, so that what it throws at once is answered too.
      Promise.resolve()
        .then(() => receiver.accept(entry))
        .then(
          (accepted) => answer(id, accepted),
          (error: unknown) => answer(id, this.#refusalOf(peer, error)),
        );
    });
  }

  /** Reads a stream to its end; `end` is called once, with what is wrong when something is. */
  #read(
    call: IncomingCall,
    end: (error: ApiaryError | undefined) => void,
    onItem: (peer: Peer, item: Uint8Array) => void,
    onOpen: (peer: string, addr: string | undefined) => void = () => undefined,
  ): void {
    let isOver = false;
    const finish = (error?: ApiaryError): void => {
      if (isOver) return;
      isOver = true;
      end(error);
      // Read to its end, so that the call can close; nobody listens any more.
      call.resume();
    };
    const attempt = (work: () => void): void => {
      if (isOver) return;
      try {
        work();
      } catch (error) {
        if (!(error instanceof ApiaryError)) throw error;
        this.#log(callerOf(call)?.nodeId, error);
        finish(error);
      }
    };
    for (const event of ['cancelled', 'error', 'close']) call.on(event, () => (isOver = true));
    attempt(() => {
      const { peer, addr } = this.#open(call);
      const reader = new FrameReader();
      call.on('data', (frame: Buffer) => {
        attempt(() => {
          for (const item of reader.items(decodeFrame(frame))) onItem(peer, item);
        });
      });
      call.on('end', () => finish());
      onOpen(peer.id, addr);
    });
  }

  /** @throws ApiaryError when the peer may not speak to this manager, with words for both */
  #open(call: IncomingCall): { peer: Peer; addr: string | undefined } {
    const { nodeId, ownAddr, receiver: receiverOf } = this.#options;
    const id = callerOf(call)?.nodeId;
    if (id === undefined) throw new ApiaryError('unauthenticated', 'a manager without a certificate');
    if (id === nodeId()) {
      throw new ApiaryError(
        'failed-precondition',
        `there are two managers with the id ${id}: one is a copy of the other`,
      );
    }
    const { version, addr } = readGreeting(call.metadata);
    if (version > WIRE_VERSION) throw newerVersion(`manager ${id}`, version);
    const receiver = receiverOf();
    if (receiver === undefined) throw new ApiaryError('unavailable', 'this manager is starting: try again');
    call.sendMetadata(writeGreeting({ version: WIRE_VERSION, addr: ownAddr() }));
    return { peer: { id, receiver }, addr };
  }

  #log(peer: string | undefined, { code, message }: ApiaryError): void {
    if (peer === undefined || code === 'unavailable' || this.#refusals.get(peer) === message) return;
    this.#refusals.set(peer, message);
    this.#options.logger.error({ peer, code }, `refused what manager ${peer} sends: ${message}`);
  }

  #refusalOf(peer: string, error: unknown): ApiaryError {
    if (error instanceof ApiaryError) return error;
    this.#options.logger.error({ err: error, peer }, 'an entry of another manager could not be taken');
    return new ApiaryError('internal', 'internal error: see the log of the manager that leads');
  }
}

/** Answers that wait for their stream; as many as there are entries under way, which the other side bounds. */
class Answers implements Source<ForwardAnswer> {
  #waiting: ForwardAnswer[] = [];

  push(answer: ForwardAnswer): void {
    this.#waiting.push(answer);
  }

  take(maxBytes: number): { items: ForwardAnswer[]; bytes: number } {
    let bytes = 0;
    let count = 0;
    for (const answer of this.#waiting) {
      const more = framedBytes(answer, ANSWER_CODEC);
      if (count > 0 && bytes + more > maxBytes) break;
      count++;
      bytes += more;
    }
    return { items: this.#waiting.splice(0, count), bytes };
  }
}
