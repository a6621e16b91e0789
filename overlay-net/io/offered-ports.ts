import { type NamespaceRef, NetworkWatch } from '@apiary/agent-native';

/** Tells when the other ends of ports are in use: whoever was offered one has put it where it belongs, and brought it up. */
export class OfferedPorts {
  readonly #waiting = new Map<string, () => void>();
  #watch: NetworkWatch | undefined;

  /** From now on in this namespace; it lives for as long as it is watched. */
  async watch(namespace: NamespaceRef): Promise<void> {
    this.#watch ??= await NetworkWatch.open({
      namespace,
      subjects: ['links'],
      listener: (events) => {
        for (const event of events) {
          if (event.change === 'lost') for (const taken of this.#waiting.values()) taken();
          else if (event.kind === 'link' && event.change === 'set' && event.link.hasCarrier) {
            this.#waiting.get(event.link.name)?.();
          }
        }
      },
      onFailure: () => this.stop(),
    });
  }

  /** Calls `taken`, perhaps more than once, until it is forgotten. */
  expect(port: string, taken: () => void): void {
    this.#waiting.set(port, taken);
  }

  forget(port: string): void {
    this.#waiting.delete(port);
  }

  /** The namespace may go. */
  stop(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }
}
