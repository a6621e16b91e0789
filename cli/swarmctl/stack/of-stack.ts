import type { Filters } from '@apiary/api/client';
import { NAMESPACE_LABEL } from '@apiary/stack-specs/core';

/** What finds the objects of a stack. */
export function ofStack(stack: string): Filters {
  return { label: [`${NAMESPACE_LABEL}=${stack}`] };
}
