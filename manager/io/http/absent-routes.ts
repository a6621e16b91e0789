import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';
import { bodyJson, pathParameter } from './request-reading.js';

/**
 * Secrets and configs, which this version does not have: there is none to be found, and none can be made. A node that
 * is no manager says so first, as for everything of the cluster.
 */
export function absentRoutes(app: FastifyInstance, { node, engine }: ApiContext): void {
  for (const kind of ['secret', 'config']) {
    const refuse = async () => {
      node.replica();
      throw new ApiaryError('unimplemented', `${kind}s are not supported by this version`);
    };
    app.get(`/${kind}s`, refuse);
    app.post(`/${kind}s/create`, refuse);
    app.route({
      method: ['GET', 'POST', 'DELETE'],
      url: `/${kind}s/:id`,
      handler: async (request) => {
        node.replica();
        throw new ApiaryError('not-found', `${kind} ${pathParameter(request, 'id')} not found`);
      },
    });
  }
  networkRoutes(app, node, engine);
}

/**
 * Networks are the engine's, but for those of the cluster, which this version does not have: the engine, which is in no
 * swarm, would answer for them that this node is no manager.
 */
function networkRoutes(app: FastifyInstance, node: ApiContext['node'], engine: ApiContext['engine']): void {
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
