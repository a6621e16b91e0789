import type { ProgressLine } from './convergence.js';

/** Terminals narrower than this get no bars. */
const LEAST_BAR_WIDTH = 110;
const BAR_LENGTH = 50;

/**
 * Turns progress lines into what is written: on a terminal each line keeps its place and is redrawn there; elsewhere a
 * line is written once each time that it says something new, and those with a bar, which change all the time, are not.
 */
export class ProgressDisplay {
  /** What is shown, in the order in which the lines first came. */
  readonly #shown = new Map<string, string>();

  constructor(
    readonly isTty: boolean,
    readonly width: number,
  ) {}

  /** @returns the text to write, control sequences included */
  render(line: ProgressLine): string {
    const text = this.#textOf(line);
    const before = this.#shown.get(line.id);
    if (text === before) return '';
    if (!this.isTty) {
      if (line.bar !== undefined) return '';
      this.#shown.set(line.id, text);
      return `${text}\n`;
    }
    this.#shown.set(line.id, text);
    if (before === undefined) return `${text}\n`;
    const up = this.#shown.size - [...this.#shown.keys()].indexOf(line.id);
    return `\x1b[${up}A\r\x1b[2K${text}\x1b[${up}B\r`;
  }

  #textOf({ id, text, bar }: ProgressLine): string {
    const line = `${id}: ${text}${bar === undefined || this.width <= LEAST_BAR_WIDTH ? '' : ` ${drawn(bar)}`}`;
    // A line that wraps would move all the others.
    return this.isTty ? [...line].slice(0, this.width - 1).join('') : line;
  }
}

function drawn({ current, total }: { current: number; total: number }): string {
  const length = Math.min(BAR_LENGTH, Math.floor(((current / total) * 100) / 2));
  return `[${'='.repeat(length)}>${' '.repeat(BAR_LENGTH - length)}]`;
}
