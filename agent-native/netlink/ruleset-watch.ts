import type { NativeMonitor } from '../binding.js';
import type { NamespaceRef } from '../namespace.js';
import { startMonitor } from './monitor.js';

const NETLINK_NETFILTER = 12;
const NFNLGRP_NFTABLES = 7;

export interface RulesetWatchOptions {
  /** Something of the rules was changed, by whomever: a call for many changes that come together. */
  listener: () => void;
  /** The watching is over, and not because it was closed. */
  onFailure: (error: Error) => void;
  namespace?: NamespaceRef;
}

/**
 * Tells that the rules of nftables have changed (those of iptables-nft are among them), until it is closed: a thread and
 * a descriptor. It keeps its namespace alive.
 */
export class RulesetWatch {
  readonly #monitor: NativeMonitor;

  private constructor(monitor: NativeMonitor) {
    this.#monitor = monitor;
  }

  /**
   * Resolves when everything that changes from now on will be told.
   *
   * @throws KernelError when there is no such namespace, or the kernel has no nftables
   */
  static async open({ listener, onFailure, namespace }: RulesetWatchOptions): Promise<RulesetWatch> {
    const what = { protocol: NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES], namespace };
    return new RulesetWatch(await startMonitor({ ...what, listener: () => listener(), onFailure }));
  }

  /** Ends it; the listener is not called any more. */
  close(): void {
    this.#monitor.close();
  }
}
