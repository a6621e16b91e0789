import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { quantile } from '../statistics.js';
import { PUT_PATH, putRequest } from './put.js';

/** What a load did: acknowledged writes a second, and how long each took, in ms. */
export interface Outcome {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  worstMs: number;
}

export interface LoadShape {
  inFlight: number;
  valueBytes: number;
  /** Ends the load after so long, or ... */
  seconds?: number;
  /** ... after so many writes. */
  writes?: number;
}

/** Keys are taken from so many: the store stays small, whatever the length of the run. */
const KEYS = 10_000;

const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH, HTTP2_HEADER_CONTENT_TYPE, HTTP2_HEADER_TE } = constants;
const HEADERS = {
  [HTTP2_HEADER_METHOD]: 'POST',
  [HTTP2_HEADER_PATH]: PUT_PATH,
  [HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
  [HTTP2_HEADER_TE]: 'trailers',
};

/** Writes to one member over one connection. */
export class PutClient {
  readonly #session: ClientHttp2Session;

  constructor(address: string) {
    this.#session = connect(`http://${address}`);
    // What was under way fails by itself.
    this.#session.on('error', () => undefined);
  }

  /** Resolves once the write is acknowledged, rejects with the member's refusal. */
  put(key: Buffer, value: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request(HEADERS);
      let status: string | undefined;
      let words = '';
      const read = (headers: Record<string, unknown>) => {
        if (headers['grpc-status'] === undefined) return;
        status = String(headers['grpc-status']);
        words = String(headers['grpc-message'] ?? '');
      };
      stream.on('response', read);
      stream.on('trailers', read);
      stream.on('error', reject);
      stream.on('close', () =>
        status === '0' ? resolve() : reject(new Error(`refused with status ${status}: ${decodeURIComponent(words)}`)),
      );
      stream.resume();
      stream.end(putRequest(key, value));
    });
  }

  close(): void {
    this.#session.destroy();
  }
}

/** Keeps so many writes in flight until the load's end, and says how it went. Fails with the first refusal. */
export async function load(client: PutClient, { inFlight, valueBytes, seconds, writes }: LoadShape): Promise<Outcome> {
  const value = Buffer.alloc(valueBytes, 'v');
  const keys = Array.from({ length: KEYS }, (_, i) => Buffer.from(`key-${i}`));
  const took: number[] = [];
  const start = performance.now();
  const endMs = seconds === undefined ? Number.POSITIVE_INFINITY : start + seconds * 1000;
  let left = writes ?? Number.POSITIVE_INFINITY;
  const writer = async (number: number) => {
    for (let i = number; performance.now() < endMs && left-- > 0; i += inFlight) {
      const from = performance.now();
      await client.put(keys[i % KEYS] ?? value, value);
      took.push(performance.now() - from);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, number) => writer(number)));
  const elapsedMs = performance.now() - start;
  return {
    perSecond: (took.length * 1000) / elapsedMs,
    p50Ms: quantile(took, 0.5),
    p99Ms: quantile(took, 0.99),
    worstMs: quantile(took, 1),
  };
}
