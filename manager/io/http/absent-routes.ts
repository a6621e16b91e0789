import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';
import { pathParameter } from './request-reading.js';

/**
 * Secrets and configs, which this version does not have: there is none to be found, and none can be made. A node that
 * is no manager says so first, as for everything of the cluster.
 */
export function absentRoutes(app: FastifyInstance, { node }: ApiContext): void {
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
}
