import type { SecretSpec, ServiceSpec } from '@apiary/api/model';
import type { NetworkBody } from '@apiary/stack-specs/core';
import type { FieldChange } from './spec-diff.js';

/** What is to become of an object. A secret's data cannot be read, so that only a deploy tells whether they are new. */
export type PlannedAction = 'create' | 'update' | 'check' | 'unchanged' | 'prune';

interface Planned {
  name: string;
  action: PlannedAction;
  /** Of the object that is there: the plan holds for this version of it alone. */
  id?: string;
  version?: number;
  changes?: FieldChange[];
}

export interface PlannedNetwork extends Planned {
  body: NetworkBody;
}

export interface PlannedContent extends Planned {
  body: SecretSpec;
}

export interface PlannedService extends Planned {
  /** Undefined of one that is pruned. */
  spec?: ServiceSpec;
  /** Whether the cluster looks for the image in its registry. */
  warning?: string;
}

/** Everything that a deploy does, in the order in which it does it. */
export interface StackPlan {
  format: 1;
  stack: string;
  networks: PlannedNetwork[];
  secrets: PlannedContent[];
  configs: PlannedContent[];
  services: PlannedService[];
}
