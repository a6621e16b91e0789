import { ApiaryError } from '@apiary/std';
import type * as fc from 'fast-check';

/** `refused`: in words that say why. What is neither is thrown: it is what is looked for. */
export type Verdict = 'taken' | 'refused';

/** Something that reads what others say. */
export interface Target {
  name: string;
  /** Of a thousand inputs. */
  share: number;
  open(): Promise<OpenTarget>;
}

export interface OpenTarget {
  /** Draws an input and the check of it. @throws when the input does harm, or is taken and not valid */
  property: fc.Arbitrary<() => Verdict | Promise<Verdict>>;
  /** What is left to see when all was said. @throws when something is not as it should be */
  close(): Promise<void>;
}

/** A target from an arbitrary, with nothing to open. */
export function reader<T>(name: string, share: number, inputs: fc.Arbitrary<T>, read: (input: T) => Verdict): Target {
  const property = inputs.map((input) => () => read(input));
  return { name, share, open: async () => ({ property, close: async () => {} }) };
}

/** Whether `work` was refused as what comes from outside is refused. @throws what is thrown otherwise */
export function refusal(work: () => unknown): Verdict {
  try {
    work();
    return 'taken';
  } catch (error) {
    if (error instanceof ApiaryError && error.code !== 'internal') return 'refused';
    throw error;
  }
}
