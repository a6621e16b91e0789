import { type ClientCertificate, ClientCertificateRequestSchema, read } from '@apiary/api/model';
import { invariant } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { createClientCertificate, revokeClientCertificate } from '../../core/requests/index.js';
import type { ClientCertificateRecord } from '../../core/store/records.js';
import { signerOf } from '../../core/trust/index.js';
import { verifiedKeyOf } from '../trust/index.js';
import { type ApiContext, currentView, replicaOf } from './context.js';
import { asClusterRequest } from './error-reply.js';
import { bodyJson, pathParameter } from './request-reading.js';

/** `/apiary/v1/client-certificates`: who may call this API over TCP. The keys are made by those who hold them. */
export function clientCertificateRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/apiary/v1/client-certificates', async (request, reply) => {
    const { CsrPem: csrPem, ...asked } = read(
      ClientCertificateRequestSchema,
      bodyJson(request),
      'client certificate request',
    );
    verifiedKeyOf(csrPem);
    const order = { name: asked.Name, role: asked.Role, stack: asked.Stack, validityMs: asked.ValidityNs / 1e6 };
    const replica = replicaOf(context);
    const { id, notAfterMs } = await asClusterRequest(() =>
      replica.submit((view, { nowMs, rng }) => createClientCertificate(view, order, nowMs, rng)),
    );
    const cluster = replica.view.cluster();
    invariant(cluster !== undefined, 'it has just been written to');
    const signer = signerOf(cluster);
    const signing = { signer, clusterId: cluster.id, csrPem, clientId: id, notAfterMs };
    const chain = await context.node
      .issuer()
      .client(signing)
      .catch(async (error: unknown) => {
        // Nobody has it, and the name is free again.
        await replica.submit((view) => revokeClientCertificate(view, id));
        throw error;
      });
    return reply.code(201).send({ ID: id, CertificatePem: chain, RootPem: signer.trustPem });
  });

  app.get('/apiary/v1/client-certificates', async () =>
    (await currentView(context))
      .clientCertificates()
      .map(clientCertificateObject)
      .sort((a, b) => (a.CreatedAt < b.CreatedAt ? -1 : 1)),
  );

  app.delete('/apiary/v1/client-certificates/:id', async (request, reply) => {
    const reference = pathParameter(request, 'id');
    await asClusterRequest(() => replicaOf(context).submit((view) => revokeClientCertificate(view, reference)));
    return reply.code(204).send();
  });
}

function clientCertificateObject(record: ClientCertificateRecord): ClientCertificate {
  const { id, name, role, stack = '', notAfterMs, revokedAtMs, meta } = record;
  return {
    ID: id,
    Name: name,
    Role: role,
    Stack: stack,
    CreatedAt: new Date(meta.createdAtMs).toISOString(),
    ExpiresAt: new Date(notAfterMs).toISOString(),
    RevokedAt: revokedAtMs === undefined ? '' : new Date(revokedAtMs).toISOString(),
  };
}
