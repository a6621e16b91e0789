import { fromRpcError, LEADER_ADDR_KEY } from '@apiary/api/client';
import { type AgentMessage, DispatcherClient, type ManagerMessage } from '@apiary/api/rpc';
import type { ApiaryError } from '@apiary/std';
import { type ChannelCredentials, type ChannelOptions, connectivityState, type ServiceError } from '@grpc/grpc-js';

/** A session's stream to one manager, as a port: gRPC carries it, or what a simulation has in its place. */
export interface SessionWire {
  /** In order; what is written before there is a connection waits for it. */
  write(message: AgentMessage): void;
  /** The last word is said: the manager ends the stream once it has answered. */
  end(): void;
  /** Whether there is a connection, whatever the manager says on it. */
  isConnected(): boolean;
  /** Gives it up. Nothing more is heard of it but, perhaps, that it was given up. */
  close(): void;
}

export interface SessionWireHandlers {
  message(message: ManagerMessage): void;
  /** The manager ended the stream. */
  ended(): void;
  /**
   * The manager ended it with an error, or the connection did.
   *
   * @param leaderAddr  as the manager said: empty when it knows no leader, undefined when it says nothing of it
   */
  failed(error: ApiaryError, leaderAddr: string | undefined): void;
}

/** Opens a stream to the manager at `HOST:PORT`; never throws, for what goes wrong is told to the handlers, later. */
export type Dial = (manager: string, handlers: SessionWireHandlers) => SessionWire;

/** @param channel  how to reach a manager, asked anew at each attempt */
export function dialOverGrpc(channel: () => { credentials: ChannelCredentials; options: ChannelOptions }): Dial {
  return (manager, handlers) => {
    const { credentials, options } = channel();
    const client = new DispatcherClient(manager, credentials, options);
    const stream = client.session();
    stream.on('data', (message: ManagerMessage) => handlers.message(message));
    stream.on('end', () => handlers.ended());
    stream.on('error', (error: Partial<ServiceError>) => {
      handlers.failed(fromRpcError(error), error.metadata?.get(LEADER_ADDR_KEY)[0]?.toString());
    });
    return {
      write: (message) => stream.write(message),
      end: () => stream.end(),
      isConnected: () => client.getChannel().getConnectivityState(false) === connectivityState.READY,
      close: () => {
        stream.cancel();
        client.close();
      },
    };
  };
}
