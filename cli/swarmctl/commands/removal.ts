import { CommandError, type Context } from './context.js';
import { errorText } from './error-text.js';

/**
 * Removes each of what is named, whatever becomes of the others, and writes the names of those that are gone.
 *
 * @throws CommandError with what was refused
 */
export async function removeEach(
  { terminal }: Context,
  names: readonly string[],
  remove: (name: string) => Promise<unknown>,
): Promise<void> {
  const errors: string[] = [];
  for (const name of names) {
    try {
      await remove(name);
      terminal.out(`${name}\n`);
    } catch (error) {
      errors.push(errorText(error));
    }
  }
  if (errors.length > 0) throw new CommandError(errors.join('\n'));
}
