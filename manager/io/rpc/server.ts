import { X509Certificate } from 'node:crypto';
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { rpcStatusOf } from '@apiary/api/client';
import { formatHostPort, parseHostPort } from '@apiary/api/model';
import { ApiaryError, type Clock, invariant, messageOf, TokenBucket } from '@apiary/std';
import {
  type ConnectionInjector,
  Server,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type Access, type Caller, memberRefusalOf, refusalOf } from '../../core/trust/access.js';
import type { Replica } from '../ports.js';
import { endWithStatus } from './call-ending.js';
import { callerOf } from './caller.js';
import { ClusterCredentials, type ServerIdentity } from './credentials.js';
import { boundMessages, STRANGERS } from './stranger-limits.js';

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
  const members = new MemberCalls(options.replica, options.clock, clusterIdOf(options.identity));
  const server = new Server({ ...SERVER_OPTIONS, interceptors: [guardOf(options, members)] });
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
      close: () => {
        members.close();
        return close(listener, injector, server, sockets);
      },
    };
  } catch (error) {
    members.close();
    injector.destroy();
    throw error;
  }
}

/** Lets a call pass, or ends it before its handler is asked. */
function guardOf(
  { services, replica, clock }: { services: RpcService[]; replica: Replica; clock: Clock },
  members: MemberCalls,
): ServerInterceptor {
  const accessOf = new Map<string, Access>();
  for (const { definition, access } of services) {
    for (const { path } of Object.values(definition)) accessOf.set(path, access);
  }
  let anonymousCalls = 0;
  const rate = new TokenBucket(STRANGERS.rate, clock.now());
  return (method, call) => {
    endWithStatus(call);
    const caller = callerOf(call);
    const access = accessOf.get(method.path) ?? 'manager';
    if (access === 'member') return members.guard(call, caller);
    const judge = () => refusalOf(replica.view, caller, access, clock.now());
    const refusal = judge();
    if (refusal?.code === 'not-found') return judgedOnceCurrent(call, replica, judge);
    if (refusal !== undefined) return refused(call, refusal);
    if (refusalOf(replica.view, caller, 'node', clock.now()) === undefined) return new ServerInterceptingCall(call);
    if (anonymousCalls >= STRANGERS.mostCalls || !rate.take(clock.now())) {
      return refused(call, new ApiaryError('resource-exhausted', 'too many nodes are joining at once: try again'));
    }
    anonymousCalls++;
    boundMessages(call);
    const onTimeout = () =>
      call.sendStatus(rpcStatusOf(new ApiaryError('unavailable', 'the call took too long: try again')));
    const timer = clock.after(STRANGERS.timeoutMs, onTimeout);
    const onEnd = () => {
      anonymousCalls--;
      timer.cancel();
    };
    return new ServerInterceptingCall(call, { start: (next) => next({ onCancel: onEnd }) });
  };
}

/**
 * Has a call wait for all that was committed when it came, and judges it again: a node that is not on record may be one
 * that this manager has not heard of yet, and an agent that is told so ends its tasks.
 */
function judgedOnceCurrent(
  call: ServerInterceptingCallInterface,
  replica: Replica,
  judge: () => ApiaryError | undefined,
): ServerInterceptingCall {
  const verdict = replica.barrier().then(judge, () => {
    return new ApiaryError('unavailable', 'this manager does not know this node, and cannot ask the others now');
  });
  return new ServerInterceptingCall(call, {
    start: (next) => {
      void verdict.then((refusal) => {
        if (refusal === undefined) next();
        else call.sendStatus(rpcStatusOf(refusal));
      });
    },
  });
}

/** Streams of other managers. They last, so that one that is excluded meanwhile has to be put out. */
class MemberCalls {
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #clusterId: string;
  readonly #open = new Map<ServerInterceptingCallInterface, Caller>();
  #judgedBy: Record<string, number> | undefined;
  /** No call is judged again. */
  readonly close: () => void;

  constructor(replica: Replica, clock: Clock, clusterId: string) {
    this.#replica = replica;
    this.#clock = clock;
    this.#clusterId = clusterId;
    let judgement: NodeJS.Immediate | undefined;
    // Not between two entries of those that come at once: who was excluded by one may be let in again by the next.
    const unsubscribe = replica.subscribe((touched) => {
      if (!touched.cluster) return;
      judgement ??= setImmediate(() => {
        judgement = undefined;
        this.#judgeAgain();
      });
    });
    this.close = () => {
      unsubscribe();
      clearImmediate(judgement);
    };
  }

  guard(call: ServerInterceptingCallInterface, caller: Caller | undefined): ServerInterceptingCall {
    const refusal = this.#refusalOf(caller);
    if (refusal !== undefined || caller === undefined) {
      return refused(call, refusal ?? new ApiaryError('unauthenticated', 'this call needs a certificate'));
    }
    this.#open.set(call, caller);
    const onCancel = () => this.#open.delete(call);
    return new ServerInterceptingCall(call, {
      start: (next) => next({ onCancel }),
      sendStatus: (status, next) => {
        onCancel();
        next(status);
      },
    });
  }

  #judgeAgain(): void {
    const excluded = this.#replica.view.cluster()?.excluded;
    if (excluded === this.#judgedBy) return;
    this.#judgedBy = excluded;
    for (const [call, caller] of this.#open) {
      const refusal = this.#refusalOf(caller);
      if (refusal?.code !== 'permission-denied') continue;
      this.#open.delete(call);
      call.sendStatus(rpcStatusOf(refusal));
    }
  }

  #refusalOf(caller: Caller | undefined): ApiaryError | undefined {
    const own = { clusterId: this.#clusterId, excluded: this.#replica.view.cluster()?.excluded };
    return memberRefusalOf(caller, own, this.#clock.now());
  }
}

/** The cluster that a node's certificate is for. */
function clusterIdOf({ certificateChainPem }: ServerIdentity): string {
  const { O: clusterId } = new X509Certificate(certificateChainPem).toLegacyObject().subject;
  invariant(typeof clusterId === 'string', "a manager's certificate says of which cluster it is");
  return clusterId;
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
