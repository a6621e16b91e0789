import { type Path, pathText } from './node.js';
import { lineAndColumn, lineAt, type Place } from './source.js';

export interface Diagnostic {
  severity: 'error' | 'warning';
  /** Undefined for what is wrong with no text: a file that is missing. */
  place?: Place | undefined;
  /** Where in the document: empty for what is no part of one. */
  path: Path;
  /** What is wrong, and what would be right. */
  message: string;
}

/** More than anybody reads: what comes after is of no use, and would cost time in files made to cost it. */
const MOST = 500;

/** Gathers diagnostics: all are reported, not the first. */
export class Diagnostics {
  readonly #all: Diagnostic[] = [];
  readonly #seen = new Set<string>();

  error(message: string, path: Path, place?: Place): void {
    this.add({ severity: 'error', message, path, place });
  }

  warn(message: string, path: Path, place?: Place): void {
    this.add({ severity: 'warning', message, path, place });
  }

  /** What is said twice of one place, as of an alias, is said once. */
  add(diagnostic: Diagnostic): void {
    if (this.isFull) return;
    const { place, message, severity } = diagnostic;
    const where = place === undefined ? pathText(diagnostic.path) : `${place.source.path}:${place.start}`;
    const key = `${severity} ${where} ${message}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#all.push(diagnostic);
  }

  get isFull(): boolean {
    return this.#all.length >= MOST;
  }

  get errors(): Diagnostic[] {
    return this.#all.filter(({ severity }) => severity === 'error');
  }

  get warnings(): Diagnostic[] {
    return this.#all.filter(({ severity }) => severity === 'warning');
  }

  get hasErrors(): boolean {
    return this.#all.some(({ severity }) => severity === 'error');
  }
}

/** An excerpt wider than this is cut around its caret. */
const EXCERPT_WIDTH = 100;

/**
 * A diagnostic as it is shown: `FILE:LINE:COLUMN: error: PATH: MESSAGE`, and under it the line with a caret.
 */
export function diagnosticText({ severity, place, path, message }: Diagnostic): string {
  const what = path.length === 0 ? message : `${pathText(path)}: ${message}`;
  if (place === undefined) return `${severity}: ${what}`;
  const { source, start, end } = place;
  const { line, column } = lineAndColumn(source, start);
  return `${source.path}:${line}:${column}: ${severity}: ${what}\n${excerpt(lineAt(source, start), line, column, end - start)}`;
}

function excerpt(text: string, line: number, column: number, length: number): string {
  const from = column > EXCERPT_WIDTH ? column - Math.floor(EXCERPT_WIDTH / 2) : 0;
  const shown = text.slice(from, from + EXCERPT_WIDTH);
  // Tabs keep their width above the caret; nothing that moves a cursor reaches a terminal.
  const visible = shown.replace(/[^\t\P{Cc}]/gu, '\u{fffd}');
  const indent = visible.slice(0, column - 1 - from).replace(/[^\t]/g, ' ');
  const marks = '~'.repeat(Math.max(0, Math.min(length, visible.length - indent.length) - 1));
  const gutter = String(line);
  return `  ${gutter} | ${visible}\n  ${' '.repeat(gutter.length)} | ${indent}^${marks}`;
}

/** The known word that is closest to a misspelt one, when it is close enough to be meant. */
export function closestWord(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
