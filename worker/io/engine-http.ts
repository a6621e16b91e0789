import http from 'node:http';
import { ApiaryError, type Clock, type ErrorCode, systemCodeOf } from '@apiary/std';

export interface EngineRequest {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** How long the whole answer (of a stream: its head) may take, else the engine counts as gone. */
  timeoutMs: number;
}

export interface EngineAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  /** The JSON that came, or undefined when there was none. */
  body: unknown;
}

export interface EngineStream {
  close(): void;
  /** Resolves when the engine has said all, rejects when the connection broke before. */
  ended: Promise<void>;
}

/** HTTP with JSON bodies to a container engine on a unix socket. */
export class EngineHttp {
  readonly #agent = new http.Agent({ keepAlive: true, maxFreeSockets: 4 });

  constructor(
    readonly socketPath: string,
    readonly clock: Clock,
  ) {}

  /**
   * @throws ApiaryError `unavailable` when there is no answer, else by the answer's status with the engine's message;
   *   the signal's reason when that aborts
   */
  async request(method: string, path: string, options: EngineRequest): Promise<EngineAnswer> {
    const { response, settle } = await this.#send(method, path, options);
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      const body = readBody(response, Buffer.concat(chunks).toString());
      const status = response.statusCode ?? 0;
      if (status >= 400) throw refusal(status, body);
      return { status, headers: response.headers, body };
    } catch (error) {
      throw this.#fault(error, options.signal);
    } finally {
      settle();
    }
  }

  /**
   * Calls `onObject` with each of the JSON objects, one a line, that the engine answers with.
   * Resolves when the engine has begun to answer. Throws as `request`.
   */
  async stream(
    method: string,
    path: string,
    options: EngineRequest,
    onObject: (object: unknown) => void,
  ): Promise<EngineStream> {
    const response = await this.#open(method, path, options);
    return {
      close: () => response.destroy(),
      ended: readLines(response, onObject).catch((error: unknown) => {
        throw this.#fault(error, options.signal);
      }),
    };
  }

  /** The bytes that the engine answers with, as they are taken. Throws as `request`. */
  async *bytes(method: string, path: string, options: EngineRequest): AsyncGenerator<Uint8Array, void, void> {
    const response = await this.#open(method, path, options);
    try {
      for await (const chunk of response) yield chunk;
    } catch (error) {
      throw this.#fault(error, options.signal);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Resolves with the head of an answer that goes on. */
  async #open(method: string, path: string, options: EngineRequest): Promise<http.IncomingMessage> {
    const { response, settle } = await this.#send(method, path, options);
    const status = response.statusCode ?? 0;
    if (status < 400) {
      settle();
      return response;
    }
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of response) chunks.push(chunk);
    } catch (error) {
      throw this.#fault(error, options.signal);
    } finally {
      settle();
    }
    throw refusal(status, readBody(response, Buffer.concat(chunks).toString()));
  }

  #send(
    method: string,
    path: string,
    { body, headers, signal, timeoutMs }: EngineRequest,
  ): Promise<{ response: http.IncomingMessage; settle: () => void }> {
    return new Promise((resolve, reject) => {
      const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
      const request = http.request({
        socketPath: this.socketPath,
        agent: this.#agent,
        method,
        path,
        headers: {
          Host: 'engine',
          ...headers,
          ...(payload && { 'Content-Type': 'application/json', 'Content-Length': payload.length }),
        },
        ...(signal && { signal }),
      });
      const timer = this.clock.after(timeoutMs, () => {
        request.destroy(this.#unavailable(`no answer within ${timeoutMs / 1000} s`));
      });
      request.on('response', (response) => resolve({ response, settle: () => timer.cancel() }));
      request.on('error', (error) => {
        timer.cancel();
        reject(this.#fault(error, signal));
      });
      request.end(payload);
    });
  }

  /** Whatever broke the exchange, as who called should see it: without an answer the engine is gone. */
  #fault(error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason;
    if (error instanceof ApiaryError) return error;
    return this.#unavailable(systemCodeOf(error) ?? String(error), error);
  }

  #unavailable(reason: string, cause?: unknown): ApiaryError {
    return new ApiaryError('unavailable', `no answer from unix://${this.socketPath}: ${reason}`, { cause });
  }
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid-argument',
  401: 'permission-denied',
  403: 'permission-denied',
  404: 'not-found',
  409: 'already-exists',
  501: 'unimplemented',
};

function refusal(status: number, body: unknown): ApiaryError {
  const message = hasMessage(body) ? body.message : `the engine answered with status ${status}`;
  return new ApiaryError(CODES[status] ?? 'internal', message);
}

function hasMessage(body: unknown): body is { message: string } {
  return typeof body === 'object' && body !== null && 'message' in body && typeof body.message === 'string';
}

function readBody(response: http.IncomingMessage, text: string): unknown {
  if (text === '' || !response.headers['content-type']?.startsWith('application/json')) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApiaryError('internal', 'the engine answered with what is no JSON', { cause });
  }
}

async function readLines(response: http.IncomingMessage, onObject: (object: unknown) => void): Promise<void> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const chunk of response) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') onObject(JSON.parse(line));
  }
  if (rest.trim() !== '') onObject(JSON.parse(rest));
}
