import { type Clock, invariant } from '@apiary/std';

/** Calls from those who are no node (yet). Each is small, and none lasts. */
export const STRANGERS = {
  /** Under way. */
  mostCalls: 256,
  /** That may come at once after a while of quiet, and from then on in a second: a node that joins makes two. */
  burst: 1_024,
  callsPerSecond: 256,
  timeoutMs: 10_000,
  /** A request to join has some 2 KiB. */
  messageBytes: 64 * 1024,
} as const;

/** Counts what comes against a rate: a token bucket. */
export class CallRate {
  readonly #clock: Clock;
  #left: number = STRANGERS.burst;
  #atMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#atMs = clock.now();
  }

  /** Whether one more is not too many. */
  take(): boolean {
    const nowMs = this.#clock.now();
    // A clock that is set back gives nothing, and takes nothing away.
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#left = Math.min(STRANGERS.burst, this.#left + (passedMs * STRANGERS.callsPerSecond) / 1_000);
    this.#atMs = nowMs;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}

/**
 * Bounds what a call may receive below the bound of its server. gRPC has none for a call: this reaches into grpc-js 1.14, of
 * which the test of the door makes sure that it does.
 */
export function boundMessages(call: object): void {
  const decoder: unknown = Reflect.get(call, 'decoder');
  invariant(
    typeof decoder === 'object' && decoder !== null && 'maxReadMessageLength' in decoder,
    'a call of grpc-js has a decoder with a bound',
  );
  decoder.maxReadMessageLength = STRANGERS.messageBytes;
  Reflect.set(call, 'maxReceiveMessageSize', STRANGERS.messageBytes);
}
