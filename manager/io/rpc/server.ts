import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { rpcStatusOf } from '@apiary/api/client';
import { formatHostPort, parseHostPort } from '@apiary/api/model';
import { ApiaryError, type Clock, invariant, messageOf } from '@apiary/std';
import {
  type ConnectionInjector,
  Server,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type Access, refusalOf } from '../../core/trust/access.js';
import type { Replica } from '../ports.js';
import { callerOf } from './caller.js';
import { ClusterCredentials, type ServerIdentity } from './credentials.js';

/** A gRPC service, and who may call its methods. */
export interface RpcService {
  definition: ServiceDefinition;
  implementation: UntypedServiceImplementation;
  access: Access;
}

export interface RpcServer {
  /** Where it listens, `HOST:PORT`: the port that was found when any was asked for. */
  readonly addr: string;
  /** Shows another certificate, from the next connection on. Open ones are not disturbed. */
  rotate(identity: ServerIdentity): void;
  /** Ends all calls and connections. */
  close(): Promise<void>;
}

const MAX_CONNECTIONS = 16_384;
/** Calls under way from those who are no node (yet). Each is small, and none lasts. */
const MAX_ANONYMOUS_CALLS = 256;
const ANONYMOUS_CALL_TIMEOUT_MS = 10_000;

const SERVER_OPTIONS = {
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
  'grpc.max_send_message_length': -1,
  'grpc.max_concurrent_streams': 64,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.max_connection_idle_ms': 60_000,
  'grpc.enable_channelz': 0,
};

/**
 * Serves gRPC to the cluster's nodes over mutual TLS. Every call is judged before its handler sees it, by the
 * certificate that its connection was made with and by what the replica knows of that node.
 *
 * @param options.listenAddr  `HOST:PORT`; port 0 for any free one
 * @throws ApiaryError `failed-precondition` when the address cannot be listened on
 */
export async function startRpcServer(options: {
  listenAddr: string;
  identity: ServerIdentity;
  services: RpcService[];
  replica: Replica;
  clock: Clock;
}): Promise<RpcServer> {
  const credentials = new ClusterCredentials(options.identity);
  const server = new Server({ ...SERVER_OPTIONS, interceptors: [guardOf(options)] });
  for (const { definition, implementation } of options.services) server.addService(definition, implementation);
  const injector = server.createConnectionInjector(credentials);
  const listener = createServer({ noDelay: true });
  listener.maxConnections = MAX_CONNECTIONS;
  const sockets = new Set<Socket>();
  listener.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    injector.injectConnection(socket);
  });
  try {
    const addr = await listen(listener, options.listenAddr);
    return {
      addr,
      rotate: (identity) => credentials.rotate(identity),
      close: () => close(listener, injector, server, sockets),
    };
  } catch (error) {
    injector.destroy();
    throw error;
  }
}

/** Lets a call pass, or ends it before its handler is asked. */
function guardOf({
  services,
  replica,
  clock,
}: {
  services: RpcService[];
  replica: Replica;
  clock: Clock;
}): ServerInterceptor {
  const accessOf = new Map<string, Access>();
  for (const { definition, access } of services) {
    for (const { path } of Object.values(definition)) accessOf.set(path, access);
  }
  let anonymousCalls = 0;
  return (method, call) => {
    const caller = callerOf(call);
    const nowMs = clock.now();
    const refusal = refusalOf(replica.view, caller, accessOf.get(method.path) ?? 'manager', nowMs);
    if (refusal !== undefined) return refused(call, refusal);
    if (refusalOf(replica.view, caller, 'node', nowMs) === undefined) return new ServerInterceptingCall(call);
    if (anonymousCalls >= MAX_ANONYMOUS_CALLS) {
      return refused(call, new ApiaryError('resource-exhausted', 'too many nodes are joining at once: try again'));
    }
    anonymousCalls++;
    const onTimeout = () =>
      call.sendStatus(rpcStatusOf(new ApiaryError('unavailable', 'the call took too long: try again')));
    const timer = clock.after(ANONYMOUS_CALL_TIMEOUT_MS, onTimeout);
    const onEnd = () => {
      anonymousCalls--;
      timer.cancel();
    };
    return new ServerInterceptingCall(call, { start: (next) => next({ onCancel: onEnd }) });
  };
}

function refused(call: ServerInterceptingCallInterface, why: ApiaryError): ServerInterceptingCall {
  return new ServerInterceptingCall(call, { start: () => call.sendStatus(rpcStatusOf(why)) });
}

async function listen(listener: NetServer, listenAddr: string): Promise<string> {
  const { host, port } = parseHostPort(listenAddr, 'listen address');
  await new Promise<void>((resolve, reject) => {
    listener.once('error', (cause) => {
      const message = `cannot listen for nodes on ${listenAddr}: ${messageOf(cause)}; choose another --listen-addr`;
      reject(new ApiaryError('failed-precondition', message, { cause }));
    });
    listener.listen(port, host, resolve);
  });
  const bound = listener.address();
  invariant(typeof bound === 'object' && bound !== null, 'a TCP listener has an address');
  return formatHostPort({ host: bound.address, port: bound.port });
}

async function close(
  listener: NetServer,
  injector: ConnectionInjector,
  server: Server,
  sockets: Set<Socket>,
): Promise<void> {
  const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
  injector.destroy();
  server.forceShutdown();
  for (const socket of sockets) socket.destroy();
  await closed;
}
