import { NodeSpecSchema, read } from '@apiary/api/model';
import { ApiaryError, invariant } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { filterNodes, findNode, NODE_FILTERS, nodeObject, parseFilters } from '../../core/engine-api/index.js';
import { removeNode, updateNode } from '../../core/requests/index.js';
import type { NodeRecord } from '../../core/store/records.js';
import type { View } from '../../core/store/view.js';
import type { Replica } from '../ports.js';
import { type ApiContext, currentView, leaderOf, replicaOf } from './context.js';
import { asClusterRequest } from './error-reply.js';
import { bodyJson, pathParameter, queryFlag, queryText, queryVersion, strictQueryFlag } from './request-reading.js';
import { tlsInfoOf } from './trust-objects.js';

/** How long a removal is waited for: one that waits for other managers to be heard of goes on without the client. */
const LONGEST_REMOVAL_MS = 5_000;

export function nodeRoutes(app: FastifyInstance, context: ApiContext): void {
  const { node: self } = context;

  app.get('/nodes', async (request) => {
    const view = await currentView(context);
    const filters = parseFilters(queryText(request, 'filters'), NODE_FILTERS);
    return filterNodes(view, filters).map((record) => objectOf(context, view, record));
  });

  app.get('/nodes/:id', async (request) => {
    const view = await currentView(context);
    return objectOf(context, view, findNode(view, pathParameter(request, 'id'), self.status().nodeId));
  });

  app.post('/nodes/:id/update', async (request, reply) => {
    const version = queryVersion(request, 'node');
    // Not Docker's: demotes a manager whatever that does to the quorum.
    const force = strictQueryFlag(request, 'force');
    const body = bodyJson(request);
    const view = await currentView(context);
    const Role = knownWord(body, 'Role', ['worker', 'manager']);
    const Availability = knownWord(body, 'Availability', ['active', 'pause', 'drain']);
    const spec = read(NodeSpecSchema, { ...Object(body), Role, Availability }, 'node spec');
    const { id } = findNode(view, pathParameter(request, 'id'), self.status().nodeId);
    await asClusterRequest(() => replicaOf(context).submit((now) => updateNode(now, { id, version, spec, force })));
    return reply.code(200).send();
  });

  app.delete('/nodes/:id', async (request, reply) => {
    const view = await currentView(context);
    const { id } = findNode(view, pathParameter(request, 'id'), self.status().nodeId);
    const force = queryFlag(request, 'force');
    const replica = replicaOf(context);
    await asClusterRequest(() => replica.submit((now) => removeNode(now, { id, force })));
    await untilGone(replica, id);
    return reply.code(200).send();
  });
}

function objectOf(context: ApiContext, view: View, record: NodeRecord) {
  const cluster = view.cluster();
  invariant(cluster !== undefined, 'a node is of a cluster');
  const leaderId = leaderOf(context, replicaOf(context));
  return nodeObject(record, { leaderId, tlsInfo: tlsInfoOf(cluster) });
}

/** A manager's record goes a moment after its removal was committed, with its membership: who removed it waits for that. */
function untilGone(replica: Replica, id: string): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    };
    const timer = setTimeout(finish, LONGEST_REMOVAL_MS);
    const unsubscribe = replica.subscribe(({ nodes }) => {
      if (nodes.has(id) && replica.view.node(id) === undefined) finish();
    });
    if (replica.view.node(id) === undefined) finish();
  });
}

/** Docker wants both words in every update, whatever their case, and refuses others in these words. */
function knownWord(body: unknown, key: string, known: string[]): string {
  const word: unknown = Object.entries(body ?? {}).find(([name]) => name === key)?.[1];
  const lowered = typeof word === 'string' ? word.toLowerCase() : '';
  if (known.includes(lowered)) return lowered;
  throw new ApiaryError('invalid-argument', `invalid ${key}: ${JSON.stringify(word ?? '')}`);
}
