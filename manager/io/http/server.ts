import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import * as http from 'node:http';
import * as net from 'node:net';
import { dirname } from 'node:path';
import { ApiaryError, type Clock, InvariantError, systemCodeOf } from '@apiary/std';
import { type FastifyInstance, fastify } from 'fastify';
import type { LocalNode } from '../ports.js';
import { checkVersion, commonVersion, versionInPath, withoutVersion } from './api-version.js';
import type { AuditLog } from './audit-log.js';
import { backupRoutes } from './backup-routes.js';
import { clientCertificateRoutes } from './client-certificate-routes.js';
import { ClientDoor } from './client-door.js';
import { ClientGuard } from './client-guard.js';
import { acceptConnection, forwardUpgrade, HEAD_TIMEOUT_MS } from './connection-front.js';
import { containerRoutes, isLookedAt } from './container-routes.js';
import { contentRoutes } from './content-routes.js';
import { type ApiContext, currentView, type Logger, replicaOf } from './context.js';
import { EngineEndpoint } from './engine-endpoint.js';
import { ERROR_CODE_HEADER, type ErrorReply, errorReplyOf } from './error-reply.js';
import { eventRoutes } from './event-routes.js';
import { EventStreams } from './event-stream.js';
import { joinTokenRoutes } from './join-token-routes.js';
import { LocalCallers, type PeerOf } from './local-callers.js';
import { logKeyRoutes } from './log-key-routes.js';
import { logRoutes } from './log-routes.js';
import { LogStreams } from './log-stream.js';
import { networkRoutes } from './network-routes.js';
import { nodeRoutes } from './node-routes.js';
import { rebalanceRoutes } from './rebalance-routes.js';
import { serviceRoutes } from './service-routes.js';
import { ServiceWatches } from './service-watch.js';
import { checkScope, inScope } from './stack-scope.js';
import { swarmRoutes } from './swarm-routes.js';
import { systemRoutes } from './system-routes.js';
import { taskRoutes } from './task-routes.js';

/** As SwarmKit's limit of a message: a spec that is larger could not be committed. */
const LARGEST_BODY_BYTES = 4 * 1024 * 1024;
const MOST_READ_OFF_BYTES = 16 * LARGEST_BODY_BYTES;

/** A body that is ours is at most 4 MiB: a client that takes longer only holds what it was given. */
const BODY_TIMEOUT_MS = 60_000;

/** On each address. Of clients over TLS there are fewer: see the door. */
const MOST_CONNECTIONS = 4_096;

/** How long requests that are being answered are waited for when the server stops. */
const DRAIN_TIMEOUT_MS = 5_000;

/** Group and owner may use the socket, as Docker's: who can, is root on this machine. */
const SOCKET_MODE = 0o660;
/** chown(2): leaves the owner as it is. */
const SAME_OWNER = -1;

/** What is ours; every other path is the engine's. */
const OURS = /^\/(?:_ping|version|info|swarm|nodes|services|tasks|events|secrets|configs|networks|apiary)(?:[/?]|$)/;

function isOurs(url: string): boolean {
  return OURS.test(withoutVersion(url));
}

export interface HttpApiOptions {
  node: LocalNode;
  /** The local engine's unix socket. */
  engineSocketPath: string;
  logger: Logger;
  clock: Clock;
  /** Our own version. */
  version: string;
  /** What this host is called by clients over TLS, beside the address that it advertises. */
  names?: string[];
  /** Where calls that may change something are noted. */
  audit?: AuditLog;
  /** Who is at the other end of a connection to the unix socket, for the audit log. */
  peerOf?: PeerOf;
  /** How long a client may take over the head of a request, and over the body of one that is ours. */
  patience?: { headMs: number; bodyMs: number };
}

export interface ListenAddresses {
  /** A unix socket to make, with its folder. */
  socketPath?: string | undefined;
  /** The group whose members may use the socket; undefined: that of this process. */
  groupId?: number | undefined;
  tcp?: { host: string; port: number } | undefined;
  /** For those who show a client certificate of the cluster. */
  tls?: { host: string; port: number } | undefined;
}

export interface HttpApi {
  /** All that is ours, but for HEAD and the version before the path: methods with paths, `/services/:id`. */
  readonly routes: readonly { method: string; path: string }[];
  /** @throws ApiaryError `failed-precondition` when an address is in use, `unavailable` when it cannot be had */
  listen(addresses: ListenAddresses): Promise<void>;
  /** Stops listening, lets running requests finish, and ends streams and what is passed through. */
  close(): Promise<void>;
}

/** Makes the API; it answers once `listen` has resolved. */
export async function createHttpApi(options: HttpApiOptions): Promise<HttpApi> {
  const engine = new EngineEndpoint(options.engineSocketPath);
  const watches = new ServiceWatches();
  const logStreams = new LogStreams();
  const { node, clock, logger, audit, version, names = [] } = options;
  const { patience = { headMs: HEAD_TIMEOUT_MS, bodyMs: BODY_TIMEOUT_MS } } = options;
  const door = new ClientDoor({ node, names, clock, logger, accept: (socket) => accept(socket) });
  const guard = new ClientGuard({ node, door, clock, local: new LocalCallers(options.peerOf) });
  const eventStreams = new EventStreams(clock);
  const parts = { watches, logStreams, eventStreams, logger, guard, clock };
  const routes: { method: string; path: string }[] = [];
  const app = routesOf({ node, engine, version }, parts, (method, path) => routes.push({ method, path }));
  await app.ready();

  const answering = new Answering();
  const server = createServer(patience.headMs, (request, response) => {
    const isEngines = !isOurs(request.url ?? '');
    audit?.follow(request, response, guard.asker(request));
    const refusal = refusalOf(() => guard.check(request, isEngines));
    if (refusal !== undefined) return sendRefusal(response, refusal);
    if (isEngines && !isLookedAt(request)) return engine.forward(request, response);
    answering.add(response);
    endWithoutBody(request, patience.bodyMs);
    app.routing(request, response);
  });
  server.on('upgrade', (request: http.IncomingMessage, socket: net.Socket, rest: Buffer) => {
    const isEngines = !isOurs(request.url ?? '');
    const refusal = refusalOf(() => guard.check(request, isEngines));
    if (refusal === undefined && isEngines) {
      audit?.taken(request, guard.asker(request));
      return forwardUpgrade(request, socket, rest, engine);
    }
    // Nothing of ours is ever upgraded: the request is answered as if it had not asked (RFC 9110, 7.8).
    const response = new http.ServerResponse(request);
    audit?.follow(request, response, guard.asker(request));
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.end());
    if (refusal !== undefined) return sendRefusal(response, refusal);
    app.routing(request, response);
  });

  const listeners: net.Server[] = [];
  const connections = new Set<net.Socket>();
  const accept = (socket: net.Socket): void => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    const mayJoin = (head: { method: string; url: string }) => {
      if (!guard.isTrusted(socket)) return false;
      audit?.taken(head, guard.asker({ socket }));
      return true;
    };
    acceptConnection(socket, server, engine, mayJoin, patience.headMs);
  };
  return {
    routes,
    async listen({ socketPath, groupId, tcp, tls }) {
      if (socketPath !== undefined) listeners.push(await listenOnSocket(socketPath, groupId, accept));
      if (tcp !== undefined) listeners.push(await listenOn(tcp, accept));
      if (tls !== undefined) listeners.push(await listenOn(tls, (socket) => door.admit(socket)));
    },
    async close() {
      for (const listener of listeners) listener.close();
      watches.close();
      logStreams.close();
      eventStreams.close();
      // What comes over a connection that is open is refused from here on.
      await app.close();
      await answering.done(DRAIN_TIMEOUT_MS);
      // What is cut short is noted once its connection has ended.
      await Promise.all([...connections].map(ended));
      server.close();
      await audit?.close();
    },
  };
}

function ended(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) return resolve();
    socket.once('close', () => resolve());
    socket.destroy();
  });
}

/** A server that never listens, but is handed connections. */
function createServer(headTimeoutMs: number, onRequest: http.RequestListener): http.Server {
  // What is uploaded to the engine may take as long as it does.
  const timeouts = { headersTimeout: headTimeoutMs, requestTimeout: 0, connectionsCheckingInterval: headTimeoutMs / 2 };
  const server = http.createServer(timeouts, onRequest);
  // Node begins to look for slow clients when a server listens.
  server.emit('listening');
  return server;
}

function endWithoutBody(request: http.IncomingMessage, timeoutMs: number): void {
  const timer = setTimeout(() => {
    // One that has no body is never read to its end, and its answer may go on for as long as somebody listens.
    if (!request.complete) request.destroy();
  }, timeoutMs);
  request.once('end', () => clearTimeout(timer));
  request.once('close', () => clearTimeout(timer));
}

function refusalOf(check: () => void): ErrorReply | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return errorReplyOf(error);
  }
}

function sendRefusal(response: http.ServerResponse, { status, code, message }: ErrorReply): void {
  response.setHeader(ERROR_CODE_HEADER, code);
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify({ message }));
}

/** The answers of ours that are under way: what was asked for may be committed, and whoever asked should hear so. */
class Answering {
  readonly #responses = new Set<http.ServerResponse>();
  #onDone: (() => void) | undefined;

  add(response: http.ServerResponse): void {
    this.#responses.add(response);
    response.once('close', () => {
      this.#responses.delete(response);
      if (this.#responses.size === 0) this.#onDone?.();
    });
  }

  /** Resolves once all have gone out, or have had their time. */
  async done(timeoutMs: number): Promise<void> {
    if (this.#responses.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#onDone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

interface RouteParts {
  watches: ServiceWatches;
  logStreams: LogStreams;
  eventStreams: EventStreams;
  logger: Logger;
  guard: ClientGuard;
  clock: Clock;
}

function routesOf(
  context: ApiContext,
  { watches, logStreams, eventStreams, logger, guard, clock }: RouteParts,
  onRoute: (method: string, path: string) => void,
): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: LARGEST_BODY_BYTES,
    rewriteUrl: (request) => withoutVersion(request.url ?? '/'),
    // Node.js refuses a longer head: that a name is unknown is then said in the same words whatever its length.
    routerOptions: { maxParamLength: http.maxHeaderSize },
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    // A path that cannot be decoded is refused before there is a route.
    frameworkErrors: (error, _request, { raw }) => {
      const body = JSON.stringify({ message: error.message });
      raw.writeHead(error.statusCode ?? 400, { 'content-type': 'application/json' }).end(body);
    },
  });
  // Docker's clients do not all name the type of what they send; it is JSON whatever they say.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  app.addHook('onRequest', async (request, reply) => {
    const asked = versionInPath(request.originalUrl);
    const newest = commonVersion(await context.engine.apiVersion());
    reply.headers({
      'api-version': newest,
      'docker-experimental': 'false',
      ostype: 'linux',
      server: `Apiary/${context.version} (linux)`,
    });
    checkVersion(asked, newest);
  });
  // The stock command line reads an error's message only from exactly this type.
  app.addHook('onSend', async (_request, reply, payload) => {
    if (String(reply.getHeader('content-type')).startsWith('application/json')) reply.type('application/json');
    return payload;
  });
  // What belongs to another stack than its own is not there for a client that is bound to one.
  app.addHook('preHandler', async (request) => {
    const stack = guard.client(request.raw)?.stack;
    if (stack !== undefined) checkScope(await currentView(context), stack, request);
  });
  app.addHook('preSerialization', async (request, _reply, payload) => {
    const stack = guard.client(request.raw)?.stack;
    return stack === undefined ? payload : inScope(replicaOf(context).view, stack, payload);
  });
  app.setNotFoundHandler(async (_request, reply) => reply.code(404).send({ message: 'page not found' }));
  app.setErrorHandler(async (error, request, reply) => {
    const { status, code, message: words } = replyOf(error);
    if (status === 413) await readOff(request.raw);
    const message = status === 413 ? tooLarge(request.headers['content-length']) : words;
    if (code === 'internal') logger.error({ err: error, method: request.method, url: request.url }, 'request failed');
    // A bug of ours: once the client has its answer, the process ends as for any other.
    if (error instanceof InvariantError) {
      setImmediate(() => {
        throw error;
      });
    }
    return reply.code(status).header(ERROR_CODE_HEADER, code).send({ message });
  });

  app.addHook('onRoute', ({ method, path }) => {
    for (const each of [method].flat()) if (each !== 'HEAD') onRoute(each, path);
  });
  systemRoutes(app, context);
  swarmRoutes(app, context, clock);
  nodeRoutes(app, context);
  serviceRoutes(app, context, watches);
  rebalanceRoutes(app, context);
  taskRoutes(app, context);
  logRoutes(app, context, logStreams);
  eventRoutes(app, context, eventStreams, clock);
  backupRoutes(app, context);
  clientCertificateRoutes(app, context);
  joinTokenRoutes(app, context);
  logKeyRoutes(app, context);
  contentRoutes(app, context);
  networkRoutes(app, context, clock);
  containerRoutes(app, context);
  return app;
}

/** In place of Fastify's own compilers of schemas, which it loads (2 MiB) whether a route has a schema or not. */
function noSchema(): never {
  throw new InvariantError('a route has a schema: bodies are checked by api/model');
}

/**
 * Reads what is left of a body that is too large: to hang up on a client that still writes would lose the refusal.
 * One that goes on for too long is hung up on all the same.
 */
function readOff(request: http.IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let bytesRead = 0;
    request.on('data', (chunk: Buffer) => {
      bytesRead += chunk.length;
      if (bytesRead > MOST_READ_OFF_BYTES) resolve();
    });
    request.once('close', resolve);
    request.once('end', resolve);
    request.resume();
  });
}

/** @param length  of the body, when the client said it */
function tooLarge(length: string | undefined): string {
  const size = length === undefined ? '' : `of ${length} bytes `;
  return `the request's body ${size}is too large: at most ${LARGEST_BODY_BYTES} bytes are taken`;
}

/** What Fastify itself refuses (a body that is too large) carries its own status. */
function replyOf(error: unknown): ReturnType<typeof errorReplyOf> {
  const reply = errorReplyOf(error);
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return reply;
  const { statusCode } = error;
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode >= 500) return reply;
  return { status: statusCode, code: 'invalid-argument', message: reply.message };
}

/** Listens on a unix socket; one that a killed process left behind is replaced. */
async function listenOnSocket(
  path: string,
  groupId: number | undefined,
  accept: (socket: net.Socket) => void,
): Promise<net.Server> {
  await mkdir(dirname(path), { recursive: true });
  if (await isAnswered(path)) {
    throw new ApiaryError('failed-precondition', `unix://${path} is in use: another swarmd listens there`);
  }
  await rm(path, { force: true });
  const listener = await listenOn({ path }, accept);
  // The group first: until the mode says so, it may do nothing.
  if (groupId !== undefined) await chown(path, SAME_OWNER, groupId);
  await chmod(path, SOCKET_MODE);
  return listener;
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

function listenOn(
  address: { path: string } | { host: string; port: number },
  accept: (socket: net.Socket) => void,
): Promise<net.Server> {
  const listener = net.createServer({ allowHalfOpen: true }, accept);
  listener.maxConnections = MOST_CONNECTIONS;
  return new Promise((resolve, reject) => {
    listener.once('error', (error) => {
      const where = 'path' in address ? `unix://${address.path}` : `tcp://${address.host}:${address.port}`;
      const code = systemCodeOf(error) === 'EADDRINUSE' ? 'failed-precondition' : 'unavailable';
      reject(new ApiaryError(code, `cannot listen on ${where}: ${error.message}`, { cause: error }));
    });
    listener.listen(address, () => resolve(listener));
  });
}
