import { messageOf } from '@apiary/std';
import { parsing } from '../table/index.js';
import { compileTemplate, type Struct, TemplateError } from '../template/index.js';
import { CommandError, type Context } from './context.js';
import { errorText } from './error-text.js';

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
