/** What happened, as somebody would tell it: the newest lines of it. */
export class Story {
  readonly #lines: string[] = [];
  readonly #maxLines: number;
  #dropped = 0;

  constructor(maxLines: number) {
    this.#maxLines = maxLines;
  }

  tell(atMs: number, words: string): void {
    this.#lines.push(`${atMs.toFixed(1).padStart(9)} ms  ${words}`);
    if (this.#lines.length <= 2 * this.#maxLines) return;
    this.#dropped += this.#maxLines;
    this.#lines.splice(0, this.#maxLines);
  }

  get lines(): string[] {
    const kept = this.#lines.slice(-this.#maxLines);
    const before = this.#dropped + this.#lines.length - kept.length;
    return before === 0 ? kept : [`           (${before} lines before)`, ...kept];
  }
}
