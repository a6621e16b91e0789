/**
 * From intent to placement: committed state and the time go in, the changes that bring what runs closer to what was
 * asked come out.
 */
export { isAllocated } from './allocation.js';
export { parseConstraint } from './constraint.js';
export { PendingReasons, type Refusal } from './pending-reasons.js';
export { plan } from './plan.js';
export type { Dirty, Plan } from './plan-types.js';
