import * as http from 'node:http';
import * as net from 'node:net';
import type { Duplex } from 'node:stream';
import { ApiaryError, messageOf } from '@apiary/std';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { errorReplyOf } from './error-reply.js';

/** How long our own questions wait for an engine that accepts connections but does not answer. */
const QUESTION_TIMEOUT_MS = 5_000;

/** Headers that belong to one connection (RFC 9110, 7.6.1), and what Node writes itself. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade', 'expect']);

/**
 * The local engine, as the API sees it: it answers our own questions about versions and the machine, and gets,
 * untouched, every request that is not ours.
 */
export class EngineEndpoint {
  readonly #socketPath: string;
  /**
   * A connection a request, but without `Connection: close`: told that, the engine hangs up at once when it refuses
   * a request early, and its refusal would be lost to our failing to write the rest of the body.
   */
  readonly #agent = new http.Agent({ keepAlive: true, maxFreeSockets: 0 });
  #apiVersion: string | undefined;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** The engine's API version, when it has ever answered. Asked once; `ping` refreshes it. */
  async apiVersion(): Promise<string | undefined> {
    if (this.#apiVersion === undefined) await this.ping();
    return this.#apiVersion;
  }

  /** The headers of the engine's `/_ping`, or undefined when it does not answer. */
  async ping(): Promise<http.IncomingHttpHeaders | undefined> {
    const answer = await this.#ask('/_ping');
    const version = answer?.headers['api-version'];
    if (typeof version === 'string') this.#apiVersion = version;
    return answer?.headers;
  }

  /** The object that a request of `path`, which has no body, answers, or undefined when the engine does not. */
  async object(path: string, method: 'GET' | 'POST' = 'GET'): Promise<Record<string, unknown> | undefined> {
    const answer = await this.#ask(path, method);
    if (answer === undefined || answer.status !== 200) return undefined;
    return JSON.parse(answer.text);
  }

  /** Whether the engine says that there is no object of `path`; an engine that does not answer says nothing. */
  async lacks(path: string): Promise<boolean> {
    return (await this.#ask(path))?.status === 404;
  }

  /** The engine's answer to a GET of `path`, still to be read; undefined when it does not answer, or not with 200. */
  open(path: string): Promise<http.IncomingMessage | undefined> {
    return new Promise((resolve) => {
      const request = http.get({ socketPath: this.#socketPath, path, agent: false }, (response) => {
        clearTimeout(timer);
        if (response.statusCode === 200) return resolve(response);
        response.resume();
        resolve(undefined);
      });
      const timer = setTimeout(() => request.destroy(), QUESTION_TIMEOUT_MS);
      request.once('error', () => {
        clearTimeout(timer);
        resolve(undefined);
      });
    });
  }

  #ask(
    path: string,
    method = 'GET',
  ): Promise<{ status: number; headers: http.IncomingHttpHeaders; text: string } | undefined> {
    return new Promise((resolve) => {
      const request = http.request(
        { socketPath: this.#socketPath, path, method, agent: false, signal: AbortSignal.timeout(QUESTION_TIMEOUT_MS) },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.once('error', () => resolve(undefined));
          response.once('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
          });
        },
      );
      request.once('error', () => resolve(undefined));
      request.end();
    });
  }

  /** Passes on a request that one of our routes has looked at, with the body that it has read; to another path, when one is given. */
  forwardFrom(request: FastifyRequest, reply: FastifyReply, path = request.originalUrl): FastifyReply {
    reply.hijack();
    const { raw, body } = request;
    raw.url = path;
    this.forward(raw, reply.raw, Buffer.isBuffer(body) ? body : undefined);
    return reply;
  }

  /**
   * Passes a request to the engine and its answer back, both as they come. Who goes away first ends both sides.
   *
   * @param body  what was read of the request already: all that it had
   */
  forward(request: http.IncomingMessage, response: http.ServerResponse, body?: Buffer): void {
    // Who has gone while its request was looked at says so no more.
    if (response.closed) return;
    const upstream = http.request({
      socketPath: this.#socketPath,
      method: request.method,
      path: request.url,
      headers: { ...endToEnd(request.headers), ...(body !== undefined && { 'content-length': body.length }) },
      agent: this.#agent,
    });
    upstream.once('response', (answer) => {
      const headers = endToEndRaw(answer.rawHeaders);
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, headers);
      // A stream of events or logs may be silent for long: its head must not wait for its first line.
      response.flushHeaders();
      answer.pipe(response);
      answer.once('error', () => response.destroy());
    });
    upstream.once('error', (error) => {
      if (response.headersSent || response.destroyed) response.destroy();
      else sendUnavailable(response, this.#unavailable(error));
    });
    response.once('close', () => upstream.destroy());
    if (body === undefined) request.pipe(upstream);
    else upstream.end(body);
  }

  /**
   * Joins a client's connection with one to the engine, byte by byte, for requests that take the connection over
   * (attach, exec, BuildKit's sessions). Each side's end is passed on by itself: a closed stdin is no hang-up.
   *
   * @param head  the request's head, to be sent first; its `Connection` must say `close`, so that the engine ends the
   *   connection also when it does not let it be taken over
   * @param rest  what the client had sent after it
   */
  join(client: Duplex, head: string, rest: Buffer): void {
    const engine = net.connect({ path: this.#socketPath, allowHalfOpen: true });
    engine.write(head, 'latin1');
    if (rest.length > 0) engine.write(rest);
    client.pipe(engine);
    engine.pipe(client);
    engine.once('error', (error) => {
      if (engine.bytesRead > 0 || client.destroyed) client.destroy();
      else client.end(rawUnavailable(this.#unavailable(error)));
    });
    client.once('error', () => engine.destroy());
    client.once('close', () => engine.destroy());
    engine.once('close', () => {
      if (!client.writableEnded) client.destroy();
    });
  }

  #unavailable(error: Error): ApiaryError {
    return new ApiaryError(
      'unavailable',
      `the container engine at unix://${this.#socketPath} does not answer: ${messageOf(error)}; is it running?`,
    );
  }
}

function endToEnd(headers: http.IncomingHttpHeaders): http.OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name)));
}

function endToEndRaw(rawHeaders: string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    // Node frames the body itself: in chunks when there is no length.
    if (HOP_BY_HOP.has(name.toLowerCase()) || name.toLowerCase() === 'transfer-encoding') continue;
    kept.push(name, rawHeaders[i + 1] ?? '');
  }
  return kept;
}

function sendUnavailable(response: http.ServerResponse, error: ApiaryError): void {
  const { status, message } = errorReplyOf(error);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message }));
}

function rawUnavailable(error: ApiaryError): string {
  const { status, message } = errorReplyOf(error);
  const body = JSON.stringify({ message });
  return [
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? ''}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
