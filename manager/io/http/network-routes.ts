import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';
import { bodyJson } from './request-reading.js';

/**
 * Networks are the engine's, but for those of the cluster, which this version does not have: the engine, which is in no
 * swarm, would answer for them that this node is no manager.
 */
export function networkRoutes(app: FastifyInstance, { node, engine }: ApiContext): void {
  app.post('/networks/create', async (request, reply) => {
    const asked = bodyJson(request);
    if (asksForSwarmScope(asked)) refuseNetworks(node);
    return engine.forwardFrom(request, reply);
  });
  // With `scope=swarm`: what the stock command line asks before it creates a service with --network.
  app.get('/networks/:id', async () => refuseNetworks(node));
}

function refuseNetworks(node: ApiContext['node']): never {
  node.replica();
  throw new ApiaryError('unimplemented', 'networks of the cluster (overlay) are not supported by this version');
}

function asksForSwarmScope(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false;
  return ('Driver' in body && body.Driver === 'overlay') || ('Scope' in body && body.Scope === 'swarm');
}
