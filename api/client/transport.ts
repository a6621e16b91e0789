import * as http from 'node:http';
import * as https from 'node:https';
import { isIP } from 'node:net';
import { ApiaryError, type ErrorCode, messageOf, systemCodeOf } from '@apiary/std';
import { type HostAddress, parseHostAddress } from './host-address.js';

/** An error answer of the daemon, with its HTTP status kept. */
export class ApiError extends ApiaryError {
  constructor(
    readonly status: number,
    code: ErrorCode,
    message: string,
  ) {
    super(code, message);
  }
}

/** The header in which swarmd says an error's code: several codes share a status in Docker's API. */
export const ERROR_CODE_HEADER = 'apiary-error-code';

export interface RequestOptions {
  query?: Record<string, string | number | boolean | undefined> | undefined;
  /** Sent as JSON. */
  body?: unknown;
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
}

/** PEM: the root, and the client's certificate and key. */
export interface TlsFiles {
  ca: string;
  cert: string;
  key: string;
}

/** IANA: docker-s. */
const TLS_PORT = 2376;

export class Transport {
  readonly #address: HostAddress;
  readonly #tls: TlsFiles | undefined;

  /**
   * @param host  `unix:///PATH` or `tcp://HOST:PORT`
   * @param tls   what to show over TCP, and what to believe: without it, TCP is in clear
   */
  constructor(
    readonly host: string,
    tls?: TlsFiles | undefined,
  ) {
    this.#address = parseHostAddress(host, tls === undefined ? undefined : TLS_PORT);
    this.#tls = 'socketPath' in this.#address ? undefined : tls;
  }

  /**
   * Sends a request and resolves with the answer's head, its body still to be read.
   *
   * @throws ApiError for a status of 400 or more; ApiaryError `unavailable` when nobody answers
   */
  async open(method: string, path: string, options: RequestOptions = {}): Promise<http.IncomingMessage> {
    const response = await this.#send(method, path, options);
    const status = response.statusCode ?? 0;
    if (status < 400) return response;
    throw errorOf(status, response.headers, await textOf(response));
  }

  /** Sends a request and resolves with its answer: parsed when it is JSON, text when not, undefined when empty. */
  async request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.open(method, path, options);
    const text = await textOf(response).catch((error: unknown) => {
      throw this.#connectionError(error, options.signal);
    });
    return parseBody(response.headers['content-type'], text);
  }

  /**
   * The lines of a stream of JSON, each parsed. Ends when the daemon ends the stream.
   *
   * @throws ApiaryError `unavailable` when the connection is lost before
   */
  async *lines<T>(path: string, options: RequestOptions): AsyncGenerator<T, void, void> {
    for await (const line of this.textLines(path, options)) yield parseBody('application/json', line);
  }

  /** As `lines`, without parsing them. */
  async *textLines(path: string, options: RequestOptions): AsyncGenerator<string, void, void> {
    const response = await this.open('GET', path, options);
    let rest = '';
    try {
      for await (const chunk of response.setEncoding('utf8')) {
        const lines = `${rest}${chunk}`.split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (line !== '') yield line;
      }
    } catch (error) {
      throw this.#connectionError(error, options.signal);
    } finally {
      response.destroy();
    }
  }

  #send(method: string, path: string, options: RequestOptions): Promise<http.IncomingMessage> {
    const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
    const headers: Record<string, string | number> = { host: 'swarmd', ...options.headers };
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = body.length;
    } else if (method !== 'GET' && method !== 'HEAD') {
      headers['content-length'] = 0;
    }
    return new Promise((resolve, reject) => {
      const request = (this.#tls === undefined ? http : https).request({
        ...this.#address,
        ...this.#tls,
        // It is the address that the certificate must name, and not the header.
        ...('host' in this.#address && { servername: isIP(this.#address.host) === 0 ? this.#address.host : '' }),
        method,
        path: path + queryOf(options.query),
        headers,
        agent: false,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      request.once('response', resolve);
      request.once('error', (error) => reject(this.#connectionError(error, options.signal)));
      request.end(body);
    });
  }

  #connectionError(error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason;
    const code = systemCodeOf(error);
    if (code === 'EACCES' || code === 'EPERM') {
      return new ApiaryError('permission-denied', `No permission to connect to swarmd at ${this.host}: are you root?`, {
        cause: error,
      });
    }
    const gone = code === 'ECONNREFUSED' || code === 'ENOENT';
    const message = gone
      ? `Cannot connect to swarmd at ${this.host}: is it running?`
      : `Lost the connection to swarmd at ${this.host}: ${messageOf(error)}`;
    return new ApiaryError('unavailable', message, { cause: error });
  }
}

function queryOf(query: RequestOptions['query'] = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.append(key, String(value));
  return search.size === 0 ? '' : `?${search}`;
}

async function textOf(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function parseBody(contentType: string | undefined, text: string) {
  if (text === '') return undefined;
  return contentType?.startsWith('application/json') ? JSON.parse(text) : text;
}

function errorOf(status: number, headers: http.IncomingHttpHeaders, text: string): ApiError {
  const named = headers[ERROR_CODE_HEADER];
  const code = CODES.find((known) => known === named) ?? codeOfStatus(status);
  return new ApiError(status, code, errorMessageOf(text) ?? `swarmd answered with status ${status}`);
}

function errorMessageOf(text: string): string | undefined {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null && 'message' in body) return String(body.message);
  } catch {
    // Not JSON: the text itself is what there is.
  }
  return text.trim() === '' ? undefined : text.trim();
}

const CODES: readonly ErrorCode[] = [
  'invalid-argument',
  'not-found',
  'already-exists',
  'out-of-sequence',
  'failed-precondition',
  'unauthenticated',
  'permission-denied',
  'resource-exhausted',
  'not-manager',
  'unavailable',
  'unimplemented',
  'internal',
];

function codeOfStatus(status: number): ErrorCode {
  switch (status) {
    case 400:
      return 'invalid-argument';
    case 401:
      return 'unauthenticated';
    case 403:
      return 'permission-denied';
    case 404:
      return 'not-found';
    case 409:
      return 'already-exists';
    case 501:
      return 'unimplemented';
    case 503:
      return 'unavailable';
    default:
      return 'internal';
  }
}
