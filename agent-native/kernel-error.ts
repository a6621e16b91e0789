import { constants } from 'node:os';

const nameOf = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
/** Two that Linux has and Node has no name for, and the kernel's own "not supported". */
const OTHER_NAMES: Readonly<Record<number, string>> = { 117: 'EUCLEAN', 524: 'ENOTSUPP' };
/** Linux has one number for these two names; this is the one that its own tools print. */
nameOf.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');
nameOf.set(constants.errno.EAGAIN, 'EAGAIN');

/** The kernel refused. Expected: it is for the caller to decide what follows. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  /** `EEXIST`, `ENODEV`, ...; `E` and the number where it has no name. */
  readonly code: string;

  /**
   * @param errno      the positive number
   * @param operation  what was asked for: `add link "web0"`
   * @param text       the kernel's own words: those of a netlink answer, a verifier's log; empty when it had none
   */
  constructor(
    readonly errno: number,
    readonly operation: string,
    readonly text: string,
  ) {
    const code = nameOf.get(errno) ?? OTHER_NAMES[errno] ?? `E${errno}`;
    super(`${operation}: ${code}${text === '' ? '' : text.includes('\n') ? `\n${text.trimEnd()}` : `: ${text}`}`);
    this.code = code;
  }
}

/** Makes a KernelError of what the addon rejects with; anything else is thrown on as it is. */
export function rethrow(error: unknown, operation?: string): never {
  if (error instanceof Error && 'errno' in error && 'operation' in error && 'text' in error) {
    const { errno, text } = error;
    throw new KernelError(Number(errno), operation ?? String(error.operation), String(text));
  }
  throw error;
}
