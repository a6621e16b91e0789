import type { CommandModule } from '../commands/context.js';

/** How many arguments a command takes; `check` says what is wrong with them otherwise. */
export interface ArgumentRule {
  least: number;
  most: number;
  check?: (args: readonly string[]) => Promise<string | undefined>;
}

export interface CommandEntry {
  name: string;
  aliases?: string[];
  /** What follows the command's path in its usage. */
  use: string;
  short: string;
  examples?: string[];
  args: ArgumentRule;
  /** All that follows the first argument is arguments: what a service runs may have flags of its own. */
  flagsFirst?: boolean;
  /** Loads the code: only that of the command that runs is. */
  load: () => Promise<CommandModule>;
}

export interface CommandGroup {
  name: string;
  short: string;
  commands: CommandEntry[];
}

export const NONE: ArgumentRule = { least: 0, most: 0 };
export const ANY: ArgumentRule = { least: 0, most: Number.POSITIVE_INFINITY };
export const SOME: ArgumentRule = { least: 1, most: Number.POSITIVE_INFINITY };
export const ONE: ArgumentRule = { least: 1, most: 1 };
