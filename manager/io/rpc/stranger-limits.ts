import { invariant } from '@apiary/std';

/** Calls from those who are no node (yet). Each is small, and none lasts. */
export const STRANGERS = {
  /** Under way. */
  mostCalls: 256,
  /** That may come at once after a while of quiet, and from then on in a second: a node that joins makes two. */
  rate: { burst: 1_024, perSecond: 256 },
  timeoutMs: 10_000,
  /** A request to join has some 2 KiB. */
  messageBytes: 64 * 1024,
} as const;

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
