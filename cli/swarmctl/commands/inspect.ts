import { messageOf } from '@apiary/std';
import type { ParsedFlags } from '../command-line/index.js';
import { parsing } from '../table/index.js';
import { compileTemplate, type Struct, TemplateError } from '../template/index.js';
import { CommandError, type Context } from './context.js';
import { errorText } from './error-text.js';
import { inspectFormat, pretty } from './options.js';

export interface InspectOptions<T> {
  references: string[];
  /** Nothing for indented JSON, `json` for compact, or a template. */
  format: string;
  get: (reference: string) => Promise<T>;
  /** Makes an object's fields known to templates; loaded when one asks. */
  typed: () => Promise<(object: T) => Struct>;
}

/**
 * Writes the objects that there are, and then fails for those that there are not.
 *
 * @throws CommandError
 */
export async function inspectObjects<T>({ terminal }: Context, options: InspectOptions<T>): Promise<void> {
  const { references, format, get, typed } = options;
  const isJson = format === '' || format === 'json';
  const template = isJson ? undefined : compiled(format);
  const structOf = isJson ? undefined : await typed();
  const errors: string[] = [];
  const objects: T[] = [];
  let text = '';
  for (const reference of references) {
    try {
      const object = await get(reference);
      objects.push(object);
      if (template !== undefined) text += `${parsing(() => template.render(structOf?.(object)))}\n`;
    } catch (error) {
      errors.push(error instanceof TemplateError ? error.message : errorText(error));
    }
  }
  if (isJson) text = `${escapedForHtml(JSON.stringify(objects, undefined, format === '' ? 4 : 0))}\n`;
  terminal.out(text === '' ? '\n' : text);
  if (errors.length > 0) throw new CommandError(errors.join('\n'));
}

/** The flags of `inspectOrShow`. */
export const inspectForm = [inspectFormat, pretty];

/**
 * Writes objects as `inspectObjects` does, or each as a page for people.
 *
 * @throws CommandError, and with --pretty whatever `get` throws
 */
export async function inspectOrShow<T>(
  context: Context,
  flags: ParsedFlags,
  { page, ...options }: Omit<InspectOptions<T>, 'format'> & { page: (object: T) => string | Promise<string> },
): Promise<void> {
  if (flags.get(pretty) !== true) {
    return inspectObjects(context, { ...options, format: flags.get(inspectFormat) ?? '' });
  }
  if (flags.changed(inspectFormat)) throw new CommandError('--format is incompatible with human friendly format');
  for (const reference of options.references) context.terminal.out(await page(await options.get(reference)));
}

function compiled(format: string): ReturnType<typeof compileTemplate> {
  try {
    return compileTemplate(format);
  } catch (error) {
    throw new CommandError(`template parsing error: ${messageOf(error)}`);
  }
}

/** Go's encoder escapes what HTML minds. */
function escapedForHtml(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (character) => {
    return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;
  });
}
