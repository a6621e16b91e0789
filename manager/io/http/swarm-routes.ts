import {
  ClusterSpecSchema,
  type InitRequest,
  InitRequestSchema,
  JoinRequestSchema,
  read,
  UnlockRequestSchema,
} from '@apiary/api/model';
import { ApiaryError, type Clock, invariant } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { swarmObject } from '../../core/engine-api/index.js';
import {
  checkClusterName,
  completeClusterSpec,
  readNetworkSettings,
  updateCluster,
} from '../../core/requests/index.js';
import { prepareRoot } from '../trust/index.js';
import { type ApiContext, currentView, replicaOf } from './context.js';
import { asClusterRequest, asMembershipRequest, ReplyError } from './error-reply.js';
import { bodyJson, queryFlag, queryVersion, strictQueryFlag } from './request-reading.js';
import { joinTokensOf, tlsInfoOf } from './trust-objects.js';

export function swarmRoutes(app: FastifyInstance, context: ApiContext, clock: Clock): void {
  const { node } = context;

  app.get('/swarm', async () => {
    const cluster = (await currentView(context)).cluster();
    invariant(cluster !== undefined, 'a manager that answers has a cluster');
    return swarmObject(cluster, tlsInfoOf(cluster), joinTokensOf(cluster));
  });

  app.post('/swarm/init', async (request, reply) => {
    const init = read(InitRequestSchema, bodyJson(request), 'swarm init request');
    readNetworkSettings(init);
    const nodeId = await asMembershipRequest(() => node.init(withAutolock(init)));
    return reply.type('application/json').send(JSON.stringify(nodeId));
  });

  app.post('/swarm/join', async (request, reply) => {
    const join = read(JoinRequestSchema, bodyJson(request), 'swarm join request');
    await asMembershipRequest(() => node.join(join));
    return reply.code(200).send();
  });

  app.post('/swarm/leave', async (request, reply) => {
    const warnings = await asMembershipRequest(() => node.leave(queryFlag(request, 'force')));
    return reply.code(200).send(warnings.length === 0 ? undefined : { Warnings: warnings });
  });

  app.post('/swarm/update', async (request, reply) => {
    const version = queryVersion(request, 'swarm');
    const rotateWorkerToken = strictQueryFlag(request, 'rotateWorkerToken');
    const rotateManagerToken = strictQueryFlag(request, 'rotateManagerToken');
    const rotateUnlockKey = strictQueryFlag(request, 'rotateManagerUnlockKey');
    const spec = read(ClusterSpecSchema, bodyJson(request), 'swarm spec');
    const cluster = (await currentView(context)).cluster();
    checkClusterName(spec);
    await asClusterRequest(async () => {
      // One that is of another version is refused below.
      const isOfVersion = cluster?.meta.version === version;
      const rotation = isOfVersion
        ? await prepareRoot(cluster, completeClusterSpec(spec), { issuer: node.issuer(), nowMs: clock.now() })
        : undefined;
      const newRoot = () => {
        if (rotation === undefined) throw new ApiaryError('out-of-sequence', 'update out of sequence');
        return rotation;
      };
      await replicaOf(context).submit((view, { rng }) =>
        updateCluster(view, { version, spec, rotateWorkerToken, rotateManagerToken, rotateUnlockKey, newRoot }, rng),
      );
    });
    return reply.code(200).send();
  });

  app.get('/swarm/unlockkey', async () => ({
    UnlockKey: (await currentView(context)).cluster()?.unlockKey ?? '',
  }));
  app.post('/swarm/unlock', async (request, reply) => {
    const { UnlockKey = '' } = read(UnlockRequestSchema, bodyJson(request), 'swarm unlock request');
    if (node.status().state !== 'locked') {
      if (node.status().state === 'inactive') node.replica();
      throw new ReplyError({ status: 409, code: 'failed-precondition', message: 'swarm is not locked' });
    }
    await asMembershipRequest(() => node.unlock(UnlockKey));
    return reply.code(200).send();
  });
}

/** Docker takes it beside the spec as well. */
function withAutolock(init: InitRequest): InitRequest {
  if (init.AutoLockManagers !== true) return init;
  return { ...init, Spec: { ...init.Spec, EncryptionConfig: { AutoLockManagers: true } } };
}
