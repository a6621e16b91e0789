import { ApiaryError, type ErrorCode, messageOf } from '@apiary/std';

/** A failure as it goes over the wire. */
export interface ErrorReply {
  status: number;
  code: ErrorCode;
  message: string;
}

/** The header in which an error's code is said: in Docker's API several share a status. */
export const ERROR_CODE_HEADER = 'apiary-error-code';

const STATUS: Record<ErrorCode, number> = {
  'invalid-argument': 400,
  unauthenticated: 401,
  'permission-denied': 403,
  'not-found': 404,
  'already-exists': 409,
  'failed-precondition': 400,
  // Docker has no status for it either: its clients know it by the words.
  'out-of-sequence': 500,
  'resource-exhausted': 500,
  internal: 500,
  unimplemented: 501,
  'not-manager': 503,
  unavailable: 503,
};

/** gRPC's names of the codes (google.golang.org/grpc/codes), which Docker puts before SwarmKit's words. */
const GRPC_NAME: Record<ErrorCode, string> = {
  'invalid-argument': 'InvalidArgument',
  unauthenticated: 'Unauthenticated',
  'permission-denied': 'PermissionDenied',
  'not-found': 'NotFound',
  'already-exists': 'AlreadyExists',
  'failed-precondition': 'FailedPrecondition',
  'out-of-sequence': 'Unknown',
  'resource-exhausted': 'ResourceExhausted',
  internal: 'Internal',
  unimplemented: 'Unimplemented',
  'not-manager': 'Unavailable',
  // SwarmKit gives no code to what keeps a manager from answering: above all, that there is no leader.
  unavailable: 'Unknown',
};

/** A failure whose status or words are not those that its code alone would give. */
export class ReplyError extends Error {
  constructor(
    readonly reply: ErrorReply,
    cause?: unknown,
  ) {
    super(reply.message, { cause });
  }
}

/** The one place where a failure becomes a status and words. */
export function errorReplyOf(error: unknown): ErrorReply {
  if (error instanceof ReplyError) return error.reply;
  if (error instanceof ApiaryError) return { status: STATUS[error.code], code: error.code, message: error.message };
  return { status: 500, code: 'internal', message: messageOf(error) };
}

/**
 * Runs what Docker's engine would ask SwarmKit for over gRPC: failures get the words that its clients see then,
 * `rpc error: code = InvalidArgument desc = ...`. What the engine itself finds out (an object that is not there, a
 * node that is no manager) is outside of it.
 */
export async function asClusterRequest<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof ApiaryError) || error.code === 'not-manager') throw error;
    throw new ReplyError({ ...errorReplyOf(error), message: grpcWords(GRPC_NAME[error.code], error.message) }, error);
  }
}

/** SwarmKit gives these no code, so that Docker answers 500. */
export function withoutGrpcCode(error: unknown): unknown {
  if (!(error instanceof ApiaryError)) return error;
  return new ReplyError({ status: 500, code: error.code, message: grpcWords('Unknown', error.message) }, error);
}

/** Runs what Docker refuses with 503 when the node is not in the state for it: init, join and leave. */
export async function asMembershipRequest<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof ApiaryError) || error.code !== 'failed-precondition') throw error;
    throw new ReplyError({ status: 503, code: error.code, message: error.message }, error);
  }
}

function grpcWords(name: string, message: string): string {
  return `rpc error: code = ${name} desc = ${message}`;
}
