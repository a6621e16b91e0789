import { compileTemplate, type Struct, TemplateError } from '../template/index.js';
import { alignColumns } from './tab-columns.js';

/** A kind of list: what its rows are called in a heading, and how it looks when nobody says otherwise. */
export interface ListKind {
  /** The heading of each field. */
  headings: Record<string, string>;
  defaultTable: string;
  /** What `raw` stands for: a template of one field on each line, and the one for ids only. */
  raw: { all: string; quiet: string };
}

/**
 * Renders rows as `--format` asks: `table` or nothing for the usual table, `table TEMPLATE`, `json`, `raw`, or a
 * template that each row is put through.
 *
 * @param quiet  ids only, where no format of one's own is given
 * @throws TemplateError
 */
export function renderList(kind: ListKind, rows: readonly Struct[], format: string, quiet: boolean): string {
  const { template, isTable } = templateOf(kind, format, quiet);
  const compiled = parsing(() => compileTemplate(template));
  const lines = rows.map((row) => parsing(() => compiled.render(row)));
  if (!isTable) return lines.map((line) => `${line}\n`).join('');
  const text = [compiled.renderHeadings(kind.headings), ...lines].map((line) => `${line}\n`).join('');
  return alignColumns(text, { leastWidth: 10, padding: 3 });
}

function templateOf(kind: ListKind, format: string, quiet: boolean): { template: string; isTable: boolean } {
  const isDefault = format === '' || format === 'table';
  if (isDefault && quiet) return { template: '{{.ID}}', isTable: false };
  if (format === 'raw') return { template: quiet ? kind.raw.quiet : kind.raw.all, isTable: false };
  if (format === 'json') return { template: '{{json .}}', isTable: false };
  const isTable = isDefault || format.startsWith('table');
  const template = isDefault ? kind.defaultTable : isTable ? format.slice('table'.length) : format;
  const trimmed = template.replace(/^ +| +$/g, '');
  return { template: trimmed.replaceAll('\\t', '\t').replaceAll('\\n', '\n'), isTable };
}

/** Says of a template's error that it is one, as Docker does. */
export function parsing<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof TemplateError) throw new TemplateError(`template parsing error: ${error.message}`);
    throw error;
  }
}
