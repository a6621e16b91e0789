/**
 * Refuses to go on when something that must hold does not: a broken invariant is a bug of ours, never bad input.
 *
 * @throws InvariantError with `message`
 */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** The compiler proves that `value` cannot exist; should it do so all the same, it is a bug of ours. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable: ${JSON.stringify(value)}`);
}

/** A bug of ours. Nobody handles it: the process says it and ends. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}
