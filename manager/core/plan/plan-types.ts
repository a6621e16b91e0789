import type { Change } from '../store/change.js';

/** What may have changed since the last pass: the pass looks at nothing else. */
export interface Dirty {
  /** After a new leader's first look, or whenever in doubt: look at everything. */
  all: boolean;
  services: ReadonlySet<string>;
  nodes: ReadonlySet<string>;
}

/** What a pass decided. */
export interface Plan {
  /** To be committed as one entry, in this order. */
  changes: Change[];
  /** When a service has to be looked at again although nothing will have changed: a delay or a monitor ends. */
  wakes: { serviceId: string; atMs: number }[];
  /** When a node has to be: it will have been down for too long. */
  nodeWakes: { nodeId: string; atMs: number }[];
}
