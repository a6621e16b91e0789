import { fromRpcError } from '@apiary/api/client';
import type { Message } from '@apiary/raft/core';
import { ApiaryError } from '@apiary/std';
import { Client, type ClientDuplexStream, type ClientWritableStream, type Metadata } from '@grpc/grpc-js';
import { FORWARDED_CODEC, type ForwardAnswer, type ForwardedEntry, type Forwarding, readAnswer } from './forwarding.js';
import { decodeFrame, FrameReader, type ItemCodec } from './frame.js';
import { FramePump } from './frame-pump.js';
import { MESSAGE_CODEC, type Outbox, type Source } from './outbox.js';
import { PEER_CHANNEL_OPTIONS } from './peer-channel.js';
import { type ManagerIdentity, PeerCredentials } from './peer-credentials.js';
import { newerVersion, RAW_RAFT_SERVICE, readGreeting, WIRE_VERSION, writeGreeting } from './wire.js';

export interface PeerConnectionOptions {
  peer: string;
  /** Where it is tried, `HOST:PORT`. */
  addr: string;
  identity: ManagerIdentity;
  /** What is said of where this manager is. */
  ownAddr: string | undefined;
  outbox: Outbox;
  snapshots: Outbox;
  forwarding: Forwarding;
  /** The peer is who it should be, and takes messages. */
  onUp(): void;
  /** The peer, a manager beyond doubt, says that this node may not take part. Comes before `onOver`. */
  onRefused?(reason: ApiaryError): void;
  /** It is over, once, before or after it was up; not after `close`. */
  onOver(reason: ApiaryError): void;
}

/** One connection to one peer, from dialling to its end: a stream for each kind of traffic, and what feeds it. */
export class PeerConnection {
  readonly addr: string;
  readonly #options: PeerConnectionOptions;
  readonly #credentials: PeerCredentials;
  readonly #client: Client;
  readonly #metadata: Metadata;
  readonly #messages: FramePump<Message>;
  readonly #messageStream: ClientWritableStream<Buffer>;
  #snapshots: { pump: FramePump<Message>; stream: ClientWritableStream<Buffer> } | undefined;
  #forwards: { pump: FramePump<ForwardedEntry>; stream: ClientDuplexStream<Buffer, Buffer> } | undefined;
  #isUp = false;
  #isOver = false;

  constructor(options: PeerConnectionOptions) {
    const { peer, addr, identity, ownAddr, outbox } = options;
    this.addr = addr;
    this.#options = options;
    this.#credentials = new PeerCredentials(identity, { id: peer, addr });
    this.#client = new Client(addr, this.#credentials, PEER_CHANNEL_OPTIONS);
    this.#metadata = writeGreeting({ version: WIRE_VERSION, addr: ownAddr });
    this.#messageStream = this.#openOneWay('messages');
    this.#messages = pumpInto(this.#messageStream, outbox, MESSAGE_CODEC);
    this.#messageStream.on('metadata', (metadata) => this.#greeted(metadata));
  }

  /** There is something in one of the queues. */
  wake(): void {
    if (!this.#isUp || this.#isOver) return;
    const { outbox, snapshots, forwarding } = this.#options;
    if (!outbox.isEmpty) this.#messages.wake();
    if (!snapshots.isEmpty) {
      this.#snapshots ??= this.#openSnapshots();
      this.#snapshots.pump.wake();
    }
    if (!forwarding.isEmpty) {
      this.#forwards ??= this.#openForwards();
      this.#forwards.pump.wake();
    }
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const pump of [this.#messages, this.#snapshots?.pump, this.#forwards?.pump]) pump?.stop();
    for (const stream of [this.#messageStream, this.#snapshots?.stream, this.#forwards?.stream]) stream?.cancel();
    this.#client.close();
  }

  #greeted(metadata: Metadata): void {
    if (this.#isOver || this.#isUp) return;
    const { peer, onUp } = this.#options;
    try {
      const { version } = readGreeting(metadata);
      if (version > WIRE_VERSION) throw newerVersion(`manager ${peer} at ${this.addr}`, version);
    } catch (error) {
      this.#over(error);
      return;
    }
    this.#isUp = true;
    onUp();
    this.wake();
  }

  #openOneWay(method: 'messages' | 'snapshots'): ClientWritableStream<Buffer> {
    const { path, requestSerialize, responseDeserialize } = RAW_RAFT_SERVICE[method];
    const done = (error: unknown): void => this.#over(error ?? new ApiaryError('unavailable', 'it ended the stream'));
    const stream = this.#client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      this.#metadata.clone(),
      done,
    );
    stream.on('error', (error) => this.#over(error));
    return stream;
  }

  #openSnapshots(): { pump: FramePump<Message>; stream: ClientWritableStream<Buffer> } {
    const stream = this.#openOneWay('snapshots');
    return { stream, pump: pumpInto(stream, this.#options.snapshots, MESSAGE_CODEC) };
  }

  #openForwards(): { pump: FramePump<ForwardedEntry>; stream: ClientDuplexStream<Buffer, Buffer> } {
    const { path, requestSerialize, responseDeserialize } = RAW_RAFT_SERVICE.forward;
    const stream = this.#client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      this.#metadata.clone(),
    );
    const reader = new FrameReader();
    stream.on('data', (frame: Buffer) => this.#answered(frame, reader));
    stream.on('error', (error) => this.#over(error));
    stream.on('end', () => this.#over(new ApiaryError('unavailable', 'it ended the stream')));
    return { stream, pump: pumpInto(stream, this.#options.forwarding, FORWARDED_CODEC) };
  }

  #answered(frame: Buffer, reader: FrameReader): void {
    if (this.#isOver) return;
    try {
      const answers: ForwardAnswer[] = reader.items(decodeFrame(frame)).map(readAnswer);
      for (const answer of answers) this.#options.forwarding.answered(answer);
    } catch (error) {
      this.#over(error);
    }
  }

  #over(error: unknown): void {
    if (this.#isOver) return;
    const { problem } = this.#credentials;
    const reason = problem ?? fromRpcError(error);
    this.close();
    if (problem === undefined && reason.code === 'permission-denied') this.#options.onRefused?.(reason);
    this.#options.onOver(reason);
  }
}

function pumpInto<T>(
  stream: Pick<ClientWritableStream<Buffer>, 'write'>,
  source: Source<T>,
  codec: ItemCodec<T>,
): FramePump<T> {
  return new FramePump(source, codec, (frame, onWritten) => {
    stream.write(frame, onWritten);
  });
}
