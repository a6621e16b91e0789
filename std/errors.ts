/**
 * The expected failures, by what a caller can do about them. HTTP and gRPC each translate a code in one place;
 * nothing looks at the words of a message.
 */
export type ErrorCode =
  /** The request is wrong in itself: its sender must change it. */
  | 'invalid-argument'
  | 'not-found'
  | 'already-exists'
  /** The `version` given is not the object's current one: read it again. */
  | 'out-of-sequence'
  /** Right in itself, but not in the state that the cluster or the object is in. */
  | 'failed-precondition'
  /** Who calls is not known (no certificate, a wrong token). */
  | 'unauthenticated'
  /** Who calls is known, and may not do this. */
  | 'permission-denied'
  /** A bound was reached: size, disk, rate. */
  | 'resource-exhausted'
  /** This node is no manager, or not part of a cluster, so that it cannot answer. */
  | 'not-manager'
  /** Try again later: no leader, no engine, no connection. */
  | 'unavailable'
  /** A flag or key that this version does not honour. */
  | 'unimplemented'
  | 'internal';

/** An expected failure. The message names the thing, what is wrong with it, and what to do. */
export class ApiaryError extends Error {
  override readonly name = 'ApiaryError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The words of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a system or library error (`ECONNREFUSED`, ...), or undefined. */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
