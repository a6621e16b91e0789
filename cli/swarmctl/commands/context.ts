import type { ApiClient } from '@apiary/api/client';
import type { Clock } from '@apiary/std';
import type { Flag, ParsedFlags } from '../command-line/index.js';
import type { Surroundings } from '../spec/index.js';

/** Where a command writes. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Whether `out` is a terminal, on which lines can be redrawn. */
  isTty: boolean;
  /** Whether `err` is one. */
  isErrTty: boolean;
  /** In columns. */
  width: number;
}

/** What a command has to work with. */
export interface Context {
  client: ApiClient;
  terminal: Terminal;
  clock: Clock;
  surroundings: Surroundings;
  /** Has Ctrl-C call `handler` instead of ending the process. @returns what takes it back */
  onInterrupt(handler: () => void): () => void;
  /** Whether stdin is a terminal: there is somebody to ask. */
  canAsk: boolean;
  /** The first line of stdin: asked for, and not shown, on a terminal. */
  readSecretLine(question: string): Promise<string>;
  /** A line of stdin, whatever it is; empty at its end. */
  readShownLine(): Promise<string>;
  /** Of the command line itself. */
  version: string;
}

/** A command: its flags and what it does. It writes its output as it goes, and throws when it fails. */
export interface CommandModule {
  flags: Flag<unknown>[];
  /** Shows its help when no flag is given: there is nothing to do then. */
  helpWithoutFlags?: boolean;
  /** @throws CommandError, ApiaryError */
  run(context: Context, flags: ParsedFlags, args: string[]): Promise<void>;
}

/** A failure in the words that the user is to read; the message may be empty when all has been said. */
export class CommandError extends Error {
  override readonly name = 'CommandError';

  constructor(
    message: string,
    readonly exitCode = 1,
  ) {
    super(message);
  }
}

/** What a shell reports for a command that Ctrl-C ended. */
export const INTERRUPTED_EXIT_CODE = 130;
