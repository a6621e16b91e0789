import type { Change, Guard } from '../store/change.js';

/** What a request decides from committed state: changes that happen only if the guards still hold where they land. */
export interface Decision<R> {
  guards: Guard[];
  changes: Change[];
  /** What the caller gets once it is committed. */
  result: R;
}
