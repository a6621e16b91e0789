import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';

/** `POST /apiary/v1/log-key/rotate`: another key for what the manager that is asked keeps on its disk. */
export function logKeyRoutes(app: FastifyInstance, { node }: ApiContext): void {
  app.post('/apiary/v1/log-key/rotate', async () => ({ KeyId: await node.rotateLogKey() }));
}
