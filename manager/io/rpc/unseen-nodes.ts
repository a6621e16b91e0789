import { type Clock, messageOf, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import { FIRST_SESSION_WITHIN_MS, isUnseen, removeUnseen } from '../../core/dispatch/unseen.js';
import type { Replica } from '../ports.js';

interface UnseenNodesOptions {
  replica: Replica;
  clock: Clock;
  log: Logger;
}

/**
 * Removes the nodes that joins left behind which were cut short: those that have a certificate and open no session
 * within `FIRST_SESSION_WITHIN_MS`. Each gets its time in full from every leader, who cannot know for how long agents
 * found none; it is measured by a timer, so a clock that is set takes no node out.
 */
export class UnseenNodes {
  readonly #options: UnseenNodesOptions;
  readonly #timers = new Map<string, Timer>();

  constructor(options: UnseenNodesOptions) {
    this.#options = options;
  }

  /** Looks at nodes that are new or have changed: the time of one that was not heard of runs from its first look. */
  watch(nodeIds: Iterable<string>): void {
    const { view } = this.#options.replica;
    for (const id of nodeIds) {
      const node = view.node(id);
      if (node === undefined || !isUnseen(node)) this.#forget(id);
      else if (!this.#timers.has(id)) this.#arm(id);
    }
  }

  /** Nobody's time runs any more. */
  clear(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #arm(nodeId: string): void {
    const timer = this.#options.clock.after(FIRST_SESSION_WITHIN_MS, () => void this.#onDue(nodeId));
    this.#timers.set(nodeId, timer);
  }

  #forget(nodeId: string): void {
    this.#timers.get(nodeId)?.cancel();
    this.#timers.delete(nodeId);
  }

  async #onDue(nodeId: string): Promise<void> {
    const { replica, log } = this.#options;
    const due = this.#timers.get(nodeId);
    // Whoever leads after this manager gives the node its time anew.
    const asLeaderOf = replica.leadership.term;
    try {
      const isRemoved = await replica.submit((view) => removeUnseen(view, nodeId), { asLeaderOf });
      if (isRemoved) log.warn({ nodeId }, 'node removed: it joined and never opened a session');
    } catch (error) {
      log.warn({ nodeId, error: messageOf(error) }, 'cannot remove a node that was never heard of: trying again');
      // Not when this manager has ceased to lead meanwhile.
      if (this.#timers.get(nodeId) === due) this.#arm(nodeId);
    }
  }
}
