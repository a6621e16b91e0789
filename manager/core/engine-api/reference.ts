import type { ContentKind } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { ContentRecord, NodeRecord, ServiceRecord, TaskRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/**
 * The objects that a user may mean by one word, as Docker has it: the one with this id, else those with this name,
 * else those whose id begins so. Exactly one must be left.
 *
 * @throws ApiaryError `not-found`; `invalid-argument` when several match
 */
export function findService(view: View, reference: string): ServiceRecord {
  const exact = view.service(reference) ?? view.serviceByName(reference);
  return exact ?? only('service', reference, beginning(view.services(), reference));
}

/** A node by id, hostname, `self`, or the beginning of its id. */
export function findNode(view: View, reference: string, selfId?: string): NodeRecord {
  const exact = view.node(reference === 'self' && selfId !== undefined ? selfId : reference);
  if (exact !== undefined) return exact;
  const named = view.nodes().filter((node) => node.description?.Hostname === reference);
  return only('node', reference, named.length > 0 ? named : beginning(view.nodes(), reference));
}

/** A task by id, name (`web.1.<id>`), or the beginning of its id. */
export function findTask(view: View, reference: string): TaskRecord {
  const exact = view.task(reference) ?? view.task(reference.slice(reference.lastIndexOf('.') + 1));
  return exact ?? only('task', reference, beginning(view.tasks(), reference));
}

/** A secret or a config, also in a version that its name has no more when it is named by the whole id. */
export function findContent(view: View, kind: ContentKind, reference: string): ContentRecord {
  const exact = view.content(kind, reference) ?? view.contentByName(kind, reference);
  return exact ?? only(kind, reference, beginning(view.contents(kind), reference));
}

function beginning<T extends { id: string }>(records: T[], reference: string): T[] {
  return reference === '' ? [] : records.filter((record) => record.id.startsWith(reference));
}

function only<T>(kind: string, reference: string, matches: T[]): T {
  const [first] = matches;
  if (first === undefined) throw new ApiaryError('not-found', `${kind} ${reference} not found`);
  if (matches.length === 1) return first;
  throw new ApiaryError('invalid-argument', `${kind} ${reference} is ambiguous (${matches.length} matches found)`);
}
