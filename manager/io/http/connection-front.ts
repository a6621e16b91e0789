import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { EngineEndpoint } from './engine-endpoint.js';

/** How long a client may take over the head of its first request; of later ones, Node's HTTP server says so. */
export const HEAD_TIMEOUT_MS = 30_000;

/** A head longer than this is left to Node's HTTP server, which refuses it. */
const LONGEST_HEAD_BYTES = 16 * 1024;

/** The requests after which a client without `Upgrade` sends raw bytes all the same: Docker clients before API 1.20. */
const HIJACKING = /^POST (?:\/v\d+\.\d+)?\/(?:containers\/[^/ ?]+\/attach|exec\/[^/ ?]+\/start)[? ]/;

/**
 * Hands a new connection to the HTTP server, except one that begins with a request which takes the connection over
 * without saying so: Node's parser would take the raw bytes that follow for another request.
 *
 * @param mayJoin  whether that one may; if not, it is the HTTP server that refuses it
 * @param headTimeoutMs  after this long without the head of a request, the connection is over
 */
export function acceptConnection(
  socket: Socket,
  server: Server,
  engine: EngineEndpoint,
  mayJoin: (request: { method: string; url: string }) => boolean,
  headTimeoutMs = HEAD_TIMEOUT_MS,
): void {
  let seen = Buffer.alloc(0);
  const drop = () => socket.destroy();
  const timer = setTimeout(drop, headTimeoutMs);
  socket.once('close', () => clearTimeout(timer));
  const read = (chunk: Buffer) => {
    seen = Buffer.concat([seen, chunk]);
    const kind = kindOf(seen);
    if (kind === 'undecided') return;
    clearTimeout(timer);
    socket.pause();
    socket.off('data', read);
    socket.off('error', drop);
    socket.off('end', drop);
    const [method = '', url = ''] = seen.toString('latin1', 0, 4096).split(' ', 2);
    if (kind === 'http' || !mayJoin({ method, url })) {
      socket.unshift(seen);
      server.emit('connection', socket);
      socket.resume();
    } else {
      const headEnd = seen.indexOf('\r\n\r\n') + 4;
      const [requestLine = '', ...headers] = seen.toString('latin1', 0, headEnd - 4).split('\r\n');
      const kept = headers.filter((header) => !/^connection:/i.test(header));
      engine.join(socket, headOf(requestLine, [...kept, 'Connection: close']), seen.subarray(headEnd));
    }
  };
  socket.on('data', read);
  socket.once('error', drop);
  socket.once('end', drop);
}

function kindOf(seen: Buffer): 'http' | 'hijacking' | 'undecided' {
  const method = seen.toString('latin1', 0, 5);
  if (method !== 'POST '.slice(0, method.length)) return 'http';
  const headEnd = seen.indexOf('\r\n\r\n');
  if (headEnd < 0) return seen.length > LONGEST_HEAD_BYTES ? 'http' : 'undecided';
  const head = seen.toString('latin1', 0, headEnd);
  return HIJACKING.test(head) && !/\r\nupgrade:/i.test(head) ? 'hijacking' : 'http';
}

/** A request that asks for an upgrade, with its connection, goes to the engine as it came. */
export function forwardUpgrade(request: IncomingMessage, socket: Socket, rest: Buffer, engine: EngineEndpoint): void {
  const headers: string[] = [];
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i] ?? '';
    if (name.toLowerCase() !== 'connection') headers.push(`${name}: ${request.rawHeaders[i + 1] ?? ''}`);
  }
  const requestLine = `${request.method} ${request.url} HTTP/1.1`;
  engine.join(socket, headOf(requestLine, [...headers, 'Connection: Upgrade, close']), rest);
}

function headOf(requestLine: string, headers: string[]): string {
  return [requestLine, ...headers, '', ''].join('\r\n');
}
