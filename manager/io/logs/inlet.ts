/** Hands batches over one by one: who brings the next waits until the last one is taken. */
export class Inlet<T> implements AsyncIterable<T> {
  #offered: { value: T; taken: () => void } | undefined;
  #wake = (): void => {};
  #isOver = false;

  /** Resolves once the value is taken, or nobody takes any more. */
  async put(value: T): Promise<void> {
    if (this.#isOver) return;
    await new Promise<void>((taken) => {
      this.#offered = { value, taken };
      this.#wake();
    });
  }

  /** There is no more, and what is offered is not waited for. */
  end(): void {
    this.#isOver = true;
    this.#offered?.taken();
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    for (;;) {
      const offered = this.#offered;
      if (offered !== undefined) {
        this.#offered = undefined;
        offered.taken();
        yield offered.value;
      } else if (this.#isOver) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
