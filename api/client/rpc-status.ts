import { ApiaryError, type ErrorCode } from '@apiary/std';

/**
 * Where our error codes and gRPC's status codes meet. The numbers are gRPC's (doc/statuscodes.md of grpc/grpc),
 * written here so that a reader of errors need not load gRPC.
 */
const STATUS_OF: Record<ErrorCode, number> = {
  'invalid-argument': 3,
  'not-found': 5,
  'already-exists': 6,
  'permission-denied': 7,
  'resource-exhausted': 8,
  'failed-precondition': 9,
  'out-of-sequence': 10,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  // Another node of the cluster can answer: to the caller it is the same as a manager that is away.
  'not-manager': 14,
  unauthenticated: 16,
};

/** Statuses that a library or a proxy answers with, and that no code of ours stands for. */
const CODE_OF_FOREIGN_STATUS = new Map<number, ErrorCode>([
  [1, 'unavailable'],
  [4, 'unavailable'],
  [11, 'invalid-argument'],
]);

const CODE_OF = new Map<number, ErrorCode>([...CODE_OF_FOREIGN_STATUS]);
for (const [code, status] of Object.entries(STATUS_OF)) {
  if (code !== 'not-manager') CODE_OF.set(status, code as ErrorCode);
}

/**
 * In the trailing metadata of a session that a manager ends because it does not lead: where the leader is, `HOST:PORT`,
 * or empty when it knows of none.
 */
export const LEADER_ADDR_KEY = 'apiary-leader-addr';

/** What a gRPC call ends with when `error` was thrown. The words of what was not expected stay on this side. */
export function rpcStatusOf(error: unknown): { code: number; details: string } {
  if (error instanceof ApiaryError) return { code: STATUS_OF[error.code], details: error.message };
  return { code: STATUS_OF.internal, details: 'internal error: see the log of the manager' };
}

/** What a gRPC call that failed meant. @param error  what the gRPC library reported: a status in `code`, words in `details` */
export function fromRpcError(error: unknown): ApiaryError {
  if (error instanceof ApiaryError) return error;
  const status = typeof error === 'object' && error !== null ? error : {};
  const code = 'code' in status && typeof status.code === 'number' ? CODE_OF.get(status.code) : undefined;
  const details = 'details' in status && typeof status.details === 'string' ? status.details : String(error);
  return new ApiaryError(code ?? 'internal', details, { cause: error });
}
