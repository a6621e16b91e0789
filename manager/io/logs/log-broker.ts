import { rpcStatusOf } from '@apiary/api/client';
import {
  type LogBatch,
  type LogReaderServer,
  LogReaderService,
  type LogRequest,
  type LogsServer,
  LogsService,
} from '@apiary/api/rpc';
import { ApiaryError, type Clock, type Rng } from '@apiary/std';
import type { ServerReadableStream, ServerWritableStream } from '@grpc/grpc-js';
import type { Replica } from '../ports.js';
import { callerOf } from '../rpc/caller.js';
import type { RpcService } from '../rpc/server.js';
import { type AgentLine, LogCollection, type Part } from './log-collection.js';

/** Each is read from the engines of its nodes: more at a time are refused. */
const MOST_COLLECTIONS = 256;

export interface LogBrokerOptions {
  replica: Replica;
  agents: AgentLine;
  clock: Clock;
  rng: Rng;
}

/** Collects logs from the agents while this manager leads, and takes in what they bring. */
export class LogBroker {
  readonly services: RpcService[];
  readonly #options: LogBrokerOptions;
  readonly #collections = new Set<LogCollection>();
  /** By query, what a node was asked for. */
  readonly #admitted = new Map<string, { part: Part; collection: LogCollection }>();
  readonly #unsubscribe: (() => void)[];

  constructor(options: LogBrokerOptions) {
    this.#options = options;
    const logs: LogsServer = {
      publish: (call, callback) => {
        this.#publish(call).then(
          () => callback(null, {}),
          (error: unknown) => callback(rpcStatusOf(error)),
        );
      },
    };
    const reader: LogReaderServer = { read: (call) => void this.#serve(call) };
    this.services = [
      { definition: LogsService, implementation: logs, access: 'node' },
      { definition: LogReaderService, implementation: reader, access: 'manager' },
    ];
    this.#unsubscribe = [
      options.replica.onLeadership(({ role }) => {
        if (role !== 'leader') this.#endAll(notLeading());
      }),
      options.agents.onLogNothing((nodeId, queryId) => {
        const admitted = this.#admitted.get(queryId);
        if (admitted?.part.nodeId === nodeId) admitted.collection.ended(admitted.part);
      }),
    ];
  }

  /** @throws ApiaryError `unavailable` when another leads, `resource-exhausted` when too many read already */
  collect(request: LogRequest): LogCollection {
    const { replica } = this.#options;
    if (replica.leadership.role !== 'leader') throw notLeading();
    if (this.#collections.size >= MOST_COLLECTIONS) {
      throw new ApiaryError(
        'resource-exhausted',
        `logs are read by ${MOST_COLLECTIONS} clients already: try again later`,
      );
    }
    const asked = request.options ?? { follow: false, stdout: true, stderr: true, since: '', tail: -1, details: false };
    const collection = new LogCollection(request, asked, {
      ...this.#options,
      admit: (part, its) => {
        this.#admitted.set(part.queryId, { part, collection: its });
        return () => this.#admitted.delete(part.queryId);
      },
      onClosed: (its) => this.#collections.delete(its),
    });
    this.#collections.add(collection);
    return collection;
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#endAll(new ApiaryError('unavailable', 'this manager is stopping'));
  }

  #endAll(error: ApiaryError): void {
    for (const collection of this.#collections) collection.close(error);
  }

  /** Reads one node's answer to its end. */
  async #publish(call: ServerReadableStream<LogBatch, unknown>): Promise<void> {
    const nodeId = callerOf(call)?.nodeId;
    let admitted: { part: Part; collection: LogCollection } | undefined;
    let isWhole = false;
    try {
      for await (const batch of call as AsyncIterable<LogBatch>) {
        admitted ??= this.#admit(nodeId, batch.queryId, call);
        await admitted.collection.take(admitted.part, batch);
        isWhole = batch.isLast;
      }
    } catch (error) {
      if (error instanceof ApiaryError && admitted?.part.isOver !== true) throw error;
    } finally {
      if (admitted !== undefined) {
        const { part, collection } = admitted;
        collection.ended(part, isWhole ? undefined : `node ${part.nodeId} disconnected unexpectedly`);
      }
    }
  }

  #admit(nodeId: string | undefined, queryId: string, call: { destroy(): void }) {
    const admitted = this.#admitted.get(queryId);
    if (admitted === undefined || admitted.part.nodeId !== nodeId || admitted.part.isAnswered) {
      throw new ApiaryError('permission-denied', `node ${nodeId} was not asked for these logs, or not any more`);
    }
    admitted.part.isAnswered = true;
    admitted.part.timer?.cancel();
    admitted.part.hangUp = () => call.destroy();
    return admitted;
  }

  /** Collects for another manager. */
  async #serve(call: ServerWritableStream<LogRequest, LogBatch>): Promise<void> {
    let collection: LogCollection | undefined;
    try {
      collection = this.collect(call.request);
      call.once('cancelled', () => collection?.close());
      for await (const batch of collection) {
        if (call.cancelled) break;
        if (!call.write(batch)) await drained(call);
      }
      call.end();
    } catch (error) {
      if (!call.cancelled) call.emit('error', rpcStatusOf(error));
    } finally {
      collection?.close();
    }
  }
}

function drained(call: ServerWritableStream<LogRequest, LogBatch>): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      call.off('drain', go).off('cancelled', go);
      resolve();
    };
    call.on('drain', go).on('cancelled', go);
  });
}

function notLeading(): ApiaryError {
  return new ApiaryError('unavailable', 'this manager does not lead');
}
