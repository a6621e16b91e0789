import { NodeSpecSchema, read } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { filterNodes, findNode, NODE_FILTERS, nodeObject, parseFilters } from '../../core/engine-api/index.js';
import { removeNode, updateNode } from '../../core/requests/index.js';
import type { NodeRecord } from '../../core/store/records.js';
import type { View } from '../../core/store/view.js';
import { type ApiContext, currentView, leaderOf } from './context.js';
import { asClusterRequest } from './error-reply.js';
import { bodyJson, pathParameter, queryFlag, queryText, queryVersion } from './request-reading.js';
import { tlsInfoOf } from './trust-objects.js';

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
    const body = bodyJson(request);
    const view = await currentView(context);
    checkWord(body, 'Role', ['worker', 'manager']);
    checkWord(body, 'Availability', ['active', 'pause', 'drain']);
    const spec = read(NodeSpecSchema, body, 'node spec');
    const { id } = findNode(view, pathParameter(request, 'id'), self.status().nodeId);
    await asClusterRequest(() => self.replica().submit((now) => updateNode(now, { id, version, spec })));
    return reply.code(200).send();
  });

  app.delete('/nodes/:id', async (request, reply) => {
    const view = await currentView(context);
    const { id } = findNode(view, pathParameter(request, 'id'), self.status().nodeId);
    const force = queryFlag(request, 'force');
    await asClusterRequest(() => self.replica().submit((now) => removeNode(now, { id, force })));
    return reply.code(200).send();
  });
}

function objectOf(context: ApiContext, view: View, record: NodeRecord) {
  const cluster = view.cluster();
  if (cluster === undefined) throw new ApiaryError('unavailable', 'this manager has no cluster yet: try again');
  const leaderId = leaderOf(context, context.node.replica());
  return nodeObject(record, { leaderId, tlsInfo: tlsInfoOf(cluster) });
}

/** Docker wants both words in every update, and refuses others in these words. */
function checkWord(body: unknown, key: string, known: string[]): void {
  const word: unknown = Object.entries(body ?? {}).find(([name]) => name === key)?.[1];
  if (typeof word === 'string' && known.includes(word)) return;
  throw new ApiaryError('invalid-argument', `invalid ${key}: ${JSON.stringify(word ?? '')}`);
}
