import type { Flag } from './flag.js';

/** What a help page says of a command. */
export interface CommandHelp {
  /** `swarmctl service create`. */
  path: string;
  /** What follows the path: `[OPTIONS] IMAGE [COMMAND] [ARG...]`. */
  use: string;
  short: string;
  /** Full forms, the command's own first. */
  aliases?: string[] | undefined;
  examples?: string[] | undefined;
}

/** A command's help page, in the layout of Docker's. @param width  of the terminal, in columns */
export function commandHelp(command: CommandHelp, flags: readonly Flag<unknown>[], width: number): string {
  const parts = [`Usage:  ${usageLine(command)}`, command.short];
  if (command.aliases !== undefined) parts.push(`Aliases:\n  ${command.aliases.join(', ')}`);
  if (command.examples !== undefined)
    parts.push(`Examples:\n${command.examples.map((line) => `  ${line}`).join('\n')}`);
  if (flags.length > 0) parts.push(`Options:\n${flagUsages(flags, width)}`);
  return `${parts.join('\n\n')}\n`;
}

export function usageLine({ path, use }: { path: string; use: string }): string {
  return use === '' ? path : `${path} ${use}`;
}

/** The help page of a command that only has subcommands. */
export function groupHelp(
  path: string,
  short: string,
  sections: { title: string; commands: readonly { name: string; short: string }[] }[],
  options?: { flags: readonly Flag<unknown>[]; width: number },
): string {
  const parts = [`Usage:  ${path} ${options === undefined ? '' : '[OPTIONS] '}COMMAND`, short];
  for (const { title, commands } of sections) {
    // Docker pads names to eleven columns, and to one more than the longest.
    const column = Math.max(11, ...commands.map(({ name }) => name.length));
    const sorted = [...commands].sort((a, b) => (a.name < b.name ? -1 : 1));
    parts.push(`${title}:\n${sorted.map(({ name, short }) => `  ${name.padEnd(column)} ${short}`).join('\n')}`);
  }
  if (options !== undefined) parts.push(`Global Options:\n${flagUsages(options.flags, options.width)}`);
  parts.push(`Run '${path} COMMAND --help' for more information on a command.`);
  return `${parts.join('\n\n')}\n`;
}

/** The flags in two columns, sorted by name, wrapped to `width` as pflag wraps them. */
export function flagUsages(flags: readonly Flag<unknown>[], width: number): string {
  const rows = [...flags]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((flag) => ({ left: leftColumn(flag), usage: usageOf(flag) }));
  const indent = Math.max(...rows.map(({ left }) => left.length)) + 3;
  return rows.map(({ left, usage }) => left.padEnd(indent) + wrapped(usage, indent, width - 1)).join('\n');
}

function leftColumn(flag: Flag<unknown>): string {
  const short = flag.short === undefined ? '      ' : `  -${flag.short}, `;
  return `${short}--${flag.name}${flag.type === 'bool' ? '' : ` ${flag.type}`}`;
}

function usageOf(flag: Flag<unknown>): string {
  return flag.defaultText === undefined ? flag.usage : `${flag.usage} (default ${flag.defaultText})`;
}

/** Columns that a last line may run over, so that no short word stands alone on one more line. */
const SLOP = 5;
/** Less room than this beside the flags, and the text starts on a line of its own. */
const LEAST_ROOM = 24;

function wrapped(text: string, indent: number, width: number): string {
  const beside = width - indent >= LEAST_ROOM;
  const column = beside ? indent : 16;
  const room = width - column - SLOP;
  const margin = `\n${' '.repeat(column)}`;
  const lines: string[] = [];
  for (let rest = text; ; ) {
    const end = room + SLOP < LEAST_ROOM ? -1 : breakAt(rest, room);
    if (end === -1) {
      lines.push(...rest.split('\n'));
      break;
    }
    lines.push(...rest.slice(0, end).split('\n'));
    rest = rest.slice(end + 1);
  }
  return (beside ? '' : margin) + lines.join(margin);
}

/** Where to break `text` so that its start fits into `room` columns, or -1 when all of it is to stand on one line. */
function breakAt(text: string, room: number): number {
  if (text.length < room + SLOP) return -1;
  const start = text.slice(0, room);
  const space = Math.max(start.lastIndexOf(' '), start.lastIndexOf('\t'), start.lastIndexOf('\n'));
  const newline = start.lastIndexOf('\n');
  if (newline > 0) return newline;
  return space > 0 ? space : -1;
}
