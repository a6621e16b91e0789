import type { EndpointSetUpdate } from '@apiary/api/rpc';

/** How long it takes from an agent saying that its task runs to all agents hearing that it takes connections. */
export class EndpointWatch {
  readonly #sinceMs = new Map<string, number>();
  #heardAfterMs = new Map<string, number[]>();

  /** The task's agent says so, now. */
  runs(taskId: string): void {
    if (this.#sinceMs.has(taskId)) return;
    this.#sinceMs.set(taskId, performance.now());
    this.#heardAfterMs.set(taskId, []);
  }

  /** One of the agents is told, now. */
  heard({ endpoints }: EndpointSetUpdate): void {
    const nowMs = performance.now();
    for (const { taskId, live } of endpoints) {
      const sinceMs = this.#sinceMs.get(taskId);
      if (live && sinceMs !== undefined) this.#heardAfterMs.get(taskId)?.push(nowMs - sinceMs);
    }
  }

  /** What each agent heard of each endpoint since this was last called. */
  take(): number[][] {
    const taken = [...this.#heardAfterMs.values()];
    this.#heardAfterMs = new Map();
    return taken;
  }
}
