import type { Fields } from './fields.js';
import { given } from './fields.js';
import { type ContentBody, labelled, scoped } from './stack.js';

/** What secrets and configs are made of, read for them. */
export interface ContentSource {
  /** base64 of a file's bytes, or why there are none. */
  readContent: (path: string) => { base64: string } | { error: string };
  /** base64 of a text. */
  encode: (text: string) => string;
  lookup: (name: string) => string | undefined;
}

/** Docker's own bounds, which it enforces only in the managers. */
const MOST_BYTES = { secret: 500 * 1024, config: 1000 * 1024 } as const;

/** The name in the cluster of the secret or config that a file calls `key`. */
export function contentName(stack: string, key: string, content: Fields): string {
  return content.text('name') ?? scoped(stack, key);
}

/** The secrets or configs that the stack makes, used or not. */
export function convertContents(
  kind: 'secret' | 'config',
  stack: string,
  project: Fields,
  source: ContentSource,
): ContentBody[] {
  const bodies: ContentBody[] = [];
  for (const content of project.each(`${kind}s`).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (content.flag('external')) continue;
    const name = contentName(stack, content.name, content);
    const driver = content.text('driver');
    const template = content.text('template_driver');
    const common = given({
      Name: name,
      Labels: labelled(stack, content.texted('labels')),
      Templating: template === undefined ? undefined : { Name: template },
    });
    if (driver !== undefined) {
      bodies.push({ ...common, Driver: given({ Name: driver, Options: content.texted('driver_opts') }) });
      continue;
    }
    const data = readData(kind, content, source);
    if (data !== undefined) bodies.push({ ...common, Data: data });
  }
  return bodies;
}

function readData(kind: 'secret' | 'config', content: Fields, source: ContentSource): string | undefined {
  const ways = ['file', 'environment', 'content'].filter((way) => content.raw(way) !== undefined);
  if (ways.length !== 1) {
    const what = ways.length === 0 ? 'nothing says what it holds' : `${ways.join(' and ')} both say what it holds`;
    content.error(`${what}: give one of file, environment and content, or external: true`);
    return undefined;
  }
  const data = dataOf(content, source);
  if (data === undefined) return undefined;
  const bytes = Math.floor((data.length * 3) / 4) - (data.endsWith('==') ? 2 : data.endsWith('=') ? 1 : 0);
  const most = MOST_BYTES[kind];
  if (bytes > most) {
    content.error(`it has ${bytes} bytes: a ${kind} holds ${most} at most`);
    return undefined;
  }
  return data;
}

function dataOf(content: Fields, source: ContentSource): string | undefined {
  const file = content.text('file');
  if (file !== undefined) {
    const read = source.readContent(file);
    if ('base64' in read) return read.base64;
    content.error(`${file}: ${read.error}`, 'file');
    return undefined;
  }
  const variable = content.text('environment');
  if (variable === undefined) return source.encode(content.text('content') ?? '');
  const value = source.lookup(variable);
  if (value === undefined) content.error(`the variable ${variable} is not set`, 'environment');
  return value === undefined ? undefined : source.encode(value);
}
