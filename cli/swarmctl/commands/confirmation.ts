import { readSync } from 'node:fs';
import type { Context } from './context.js';

/** Asks on the terminal whether to go on. @returns whether the answer was `y` */
export function confirmed({ terminal }: Context, warning: string): boolean {
  terminal.out(`${warning}\nAre you sure you want to continue? [y/N] `);
  return readLine().trim().toLowerCase() === 'y';
}

/** One line of what is typed, or of what comes over a pipe; nothing at its end. */
function readLine(): string {
  const byte = Buffer.alloc(1);
  let line = '';
  while (readSync(0, byte) === 1 && byte[0] !== 0x0a) line += byte.toString('latin1');
  return line;
}
