import type { Context } from './context.js';

/** Asks on the terminal whether to go on. @returns whether the answer was `y` */
export async function confirmed({ terminal, readShownLine }: Context, warning: string): Promise<boolean> {
  terminal.out(`${warning}\nAre you sure you want to continue? [y/N] `);
  return (await readShownLine()).trim().toLowerCase() === 'y';
}
