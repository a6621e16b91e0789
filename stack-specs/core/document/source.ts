/** A file as it was read: diagnostics quote it. */
export interface Source {
  /** As it is shown to the user. */
  path: string;
  text: string;
}

/** A stretch of a source, as offsets into its text; `end` is not part of it. */
export interface Place {
  source: Source;
  start: number;
  end: number;
}

/** Where an offset is, counted from 1 as editors do. Columns count UTF-16 units. */
export function lineAndColumn({ text }: Source, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  let line = 1;
  for (let at = before.indexOf('\n'); at >= 0; at = before.indexOf('\n', at + 1)) line++;
  return { line, column: offset - lineStart + 1 };
}

/** The line that holds an offset, without its end. */
export function lineAt({ text }: Source, offset: number): string {
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  const end = text.indexOf('\n', offset);
  return text.slice(start, end < 0 ? undefined : end).replace(/\r$/, '');
}
