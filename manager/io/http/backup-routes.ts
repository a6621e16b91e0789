import type { FastifyInstance } from 'fastify';
import { type ApiContext, replicaOf } from './context.js';
import { asClusterRequest } from './error-reply.js';

/** `GET /apiary/v1/backup`: the whole state of the cluster, as `swarmctl restore` takes it. */
export function backupRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get('/apiary/v1/backup', async (_request, reply) => {
    const replica = replicaOf(context);
    const maker = { nodeId: context.node.status().nodeId, takenAtMs: Date.now() };
    const { openBackup } = await import('../recovery/index.js');
    const backup = await asClusterRequest(() => openBackup(replica, maker));
    return reply.type('application/octet-stream').send(backup);
  });
}
