import type { NodeSpec } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import type { Decision } from './decision.js';
import { invalid, unhonoured } from './refusal.js';

/**
 * Puts a new spec in the place of a node's spec.
 *
 * @param request.version  the `meta.version` that the caller has seen
 * @throws ApiaryError `not-found`, `invalid-argument`, `out-of-sequence`, `failed-precondition` for the demotion of
 *   the last manager, `unimplemented` for a promotion
 */
export function updateNode(view: View, request: { id: string; version: number; spec: NodeSpec }): Decision<string> {
  const node = nodeOf(view, request.id);
  const { spec, version } = request;
  if (spec.Role === undefined) throw invalid('invalid Role: ""');
  if (spec.Availability === undefined) throw invalid('invalid Availability: ""');
  if (node.meta.version !== version) throw new ApiaryError('out-of-sequence', 'update out of sequence');
  if (node.role === 'manager' && spec.Role === 'worker') {
    if (view.nodes().filter(({ role }) => role === 'manager').length === 1) {
      throw new ApiaryError('failed-precondition', 'attempting to demote the last manager of the swarm');
    }
    throw unhonoured('the demotion of a manager', 'keep Role "manager"');
  }
  if (node.role === 'worker' && spec.Role === 'manager') {
    throw unhonoured('a second manager', 'keep Role "worker"');
  }
  return {
    guards: [{ type: 'unchanged', kind: 'node', id: node.id, version }],
    changes: [{ type: 'node-spec', id: node.id, spec }],
    result: node.id,
  };
}

/**
 * Takes a node out of the cluster. The planner ends what runs there and makes it run elsewhere.
 *
 * @throws ApiaryError `not-found`; `failed-precondition` for a manager, and without `force` for a node that is up
 */
export function removeNode(view: View, request: { id: string; force: boolean }): Decision<string> {
  const node = nodeOf(view, request.id);
  if (node.role === 'manager') {
    throw new ApiaryError(
      'failed-precondition',
      `node ${node.id} is a cluster manager and is a member of the raft cluster. ` +
        'It must be demoted to worker before removal',
    );
  }
  if (node.status.state === 'ready' && !request.force) {
    throw new ApiaryError('failed-precondition', `node ${node.id} is not down and can't be removed`);
  }
  return {
    guards: [{ type: 'unchanged', kind: 'node', id: node.id, version: node.meta.version }],
    changes: [{ type: 'node-delete', id: node.id }],
    result: node.id,
  };
}

function nodeOf(view: View, id: string): NodeRecord {
  const node = view.node(id);
  if (node === undefined) throw new ApiaryError('not-found', `node ${id} not found`);
  return node;
}
