import { isTerminal } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { findService } from '../../core/engine-api/index.js';
import { rebalanceNodes, rebalanceService } from '../../core/requests/index.js';
import { type ApiContext, currentView, replicaOf } from './context.js';
import { asClusterRequest } from './error-reply.js';
import { pathParameter, queryText } from './request-reading.js';

/** Spreading tasks anew over the nodes: only when somebody asks for it. Docker has nothing like it. */
export function rebalanceRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/apiary/v1/services/:id/rebalance', async (request, reply) => {
    const most = parallelismOf(request);
    const { id } = findService(await currentView(context), pathParameter(request, 'id'));
    await asClusterRequest(() => replicaOf(context).submit((view) => rebalanceService(view, { id, most })));
    return reply.code(200).send();
  });

  app.post('/apiary/v1/nodes/rebalance', async (request) => {
    const most = parallelismOf(request);
    return {
      Services: await asClusterRequest(() => replicaOf(context).submit((view) => rebalanceNodes(view, { most }))),
    };
  });

  app.get('/apiary/v1/rebalance', async () => {
    const view = await currentView(context);
    const Services = view.rebalancing().map(({ id, spec }) => {
      const moving = view.tasksOfService(id).filter((task) => task.isToMove && !isTerminal(task.status.state));
      return { ID: id, Name: spec.Name ?? '', Moving: moving.length };
    });
    return { Services };
  });
}

/** How many tasks may be on the way at once; 0 ends it. */
function parallelismOf(request: FastifyRequest): number {
  const text = queryText(request, 'parallelism') ?? '1';
  if (/^\d+$/.test(text)) return Number(text);
  throw new ApiaryError('invalid-argument', `invalid parallelism '${text}': expected a whole number`);
}
