import { type BoundJoinToken, formatJoinToken, JoinTokenRequestSchema, read } from '@apiary/api/model';
import { invariant } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { createJoinToken, removeJoinToken } from '../../core/requests/index.js';
import type { ClusterRecord, JoinTokenRecord } from '../../core/store/records.js';
import { rootDigestOfPem } from '../trust/index.js';
import { type ApiContext, currentView, replicaOf } from './context.js';
import { asClusterRequest } from './error-reply.js';
import { bodyJson, pathParameter } from './request-reading.js';

/** `/apiary/v1/join-tokens`: those that bring labels, beside the two that Docker knows. */
export function joinTokenRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/apiary/v1/join-tokens', async (request, reply) => {
    const asked = read(JoinTokenRequestSchema, bodyJson(request), 'join token request');
    const { Role: role, Labels: labels = {}, ValidityNs: validityNs = 0 } = asked;
    const order = { role, labels, ...(validityNs > 0 && { validityMs: validityNs / 1e6 }) };
    const replica = replicaOf(context);
    const token = await asClusterRequest(() =>
      replica.submit((view, { nowMs, rng }) => createJoinToken(view, order, nowMs, rng)),
    );
    const cluster = replica.view.cluster();
    invariant(cluster !== undefined, 'it has just been written to');
    return reply.code(201).send(tokenObject(cluster, token));
  });

  app.get('/apiary/v1/join-tokens', async () => {
    const cluster = (await currentView(context)).cluster();
    return cluster?.joinTokens?.map((token) => tokenObject(cluster, token)) ?? [];
  });

  app.delete('/apiary/v1/join-tokens/:id', async (request, reply) => {
    const id = pathParameter(request, 'id');
    await asClusterRequest(() => replicaOf(context).submit((view) => removeJoinToken(view, id)));
    return reply.code(204).send();
  });
}

function tokenObject({ rootCa }: ClusterRecord, token: JoinTokenRecord): BoundJoinToken {
  const { id, role, labels, secret, createdAtMs, notAfterMs } = token;
  return {
    ID: id,
    Role: role,
    Labels: labels,
    Token: formatJoinToken({ rootDigest: rootDigestOfPem(rootCa.certificatePem), secret }),
    CreatedAt: new Date(createdAtMs).toISOString(),
    ExpiresAt: notAfterMs === undefined ? '' : new Date(notAfterMs).toISOString(),
  };
}
