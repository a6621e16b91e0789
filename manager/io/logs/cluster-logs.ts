import { fromRpcError } from '@apiary/api/client';
import { type LogBatch, LogReaderClient, type LogRequest } from '@apiary/api/rpc';
import { ApiaryError, type Clock } from '@apiary/std';
import type { Logs, Replica } from '../ports.js';
import { PEER_CHANNEL_OPTIONS } from '../raft-transport/peer-channel.js';
import { type ManagerIdentity, PeerCredentials } from '../raft-transport/peer-credentials.js';
import type { LogBroker } from './log-broker.js';

/** For how long a leader is looked for before who reads hears that there is none. */
const PATIENCE_MS = 30_000;
const RETRY_MS = 200;

/** A batch is as large as its lines are long. */
const CHANNEL_OPTIONS = { ...PEER_CHANNEL_OPTIONS, 'grpc.max_receive_message_length': -1 };

export interface ClusterLogsOptions {
  replica: Replica;
  broker: LogBroker;
  identity: () => ManagerIdentity;
  clock: Clock;
}

/**
 * The cluster's logs as any manager serves them: read from the manager that leads. When that one is lost, it is read on
 * from its successor, after the last line of each task that came in before.
 */
export class ClusterLogs implements Logs {
  readonly #options: ClusterLogsOptions;
  readonly #closing = new AbortController();

  constructor(options: ClusterLogsOptions) {
    this.#options = options;
  }

  async *read(request: LogRequest, signal: AbortSignal): AsyncGenerator<LogBatch, void, void> {
    const { clock } = this.#options;
    const either = AbortSignal.any([signal, this.#closing.signal]);
    const have = new Map(request.after.map(({ taskId, timestamp }) => [taskId, timestamp]));
    let deadlineMs = clock.now() + PATIENCE_MS;
    while (!signal.aborted) {
      if (this.#closing.signal.aborted) {
        throw new ApiaryError('unavailable', 'this manager is stopping: ask another one');
      }
      const after = [...have].map(([taskId, timestamp]) => ({ taskId, timestamp }));
      try {
        for await (const batch of this.#attempt({ ...request, after }, either)) {
          for (const { taskId, timestamp } of batch.lines) have.set(taskId, timestamp);
          deadlineMs = clock.now() + PATIENCE_MS;
          yield batch;
          if (batch.isLast) return;
        }
        throw new ApiaryError('unavailable', 'the manager that leads broke off the logs');
      } catch (error) {
        const mayPass = error instanceof ApiaryError && error.code === 'unavailable' && clock.now() < deadlineMs;
        if (!either.aborted && !mayPass) throw error;
      }
      if (!either.aborted) await this.#pause(either);
    }
  }

  /** Ends all that is read, with an error. */
  close(): void {
    this.#closing.abort();
  }

  async *#attempt(request: LogRequest, signal: AbortSignal): AsyncGenerator<LogBatch, void, void> {
    const { replica, broker, identity } = this.#options;
    const { leadership, view } = replica;
    if (leadership.role === 'leader') {
      const collection = broker.collect(request);
      const onAbort = (): void => collection.close();
      signal.addEventListener('abort', onAbort);
      try {
        yield* collection;
      } finally {
        signal.removeEventListener('abort', onAbort);
        collection.close();
      }
      return;
    }
    const { leaderId } = leadership;
    const addr = leaderId === undefined ? undefined : view.node(leaderId)?.managerAddr;
    if (leaderId === undefined || addr === undefined)
      throw new ApiaryError('unavailable', 'the managers have no leader now');
    const credentials = new PeerCredentials(identity(), { id: leaderId, addr });
    const client = new LogReaderClient(addr, credentials, CHANNEL_OPTIONS);
    const stream = client.read(request);
    const onAbort = (): void => stream.cancel();
    signal.addEventListener('abort', onAbort);
    // A call that waits for a leader which never answers is given up when another leads.
    const stopListening = replica.onLeadership((now) => {
      if (now.role === 'leader' || now.leaderId !== leaderId) stream.cancel();
    });
    try {
      for await (const batch of stream as AsyncIterable<LogBatch>) yield batch;
    } catch (error) {
      throw credentials.problem ?? fromRpcError(error);
    } finally {
      stopListening();
      signal.removeEventListener('abort', onAbort);
      stream.cancel();
      client.close();
    }
  }

  #pause(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(RETRY_MS, () => go());
      const go = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', go);
        resolve();
      };
      signal.addEventListener('abort', go);
    });
  }
}
