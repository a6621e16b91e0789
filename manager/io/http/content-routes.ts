import { createHmac } from 'node:crypto';
import {
  ConfigSpecSchema,
  type ContentKind,
  ContentVersionSchema,
  read,
  type SecretSpec,
  SecretSpecSchema,
} from '@apiary/api/model';
import type { FastifyInstance } from 'fastify';
import {
  CONTENT_FILTERS,
  contentObject,
  filterContents,
  findContent,
  parseFilters,
} from '../../core/engine-api/index.js';
import {
  createContent,
  putContentVersion,
  removeContent,
  standardBase64,
  updateContent,
} from '../../core/requests/index.js';
import { type ApiContext, currentView, replicaOf } from './context.js';
import { asClusterRequest } from './error-reply.js';
import { bodyJson, pathParameter, queryText, queryVersion } from './request-reading.js';

/** Secrets and configs, which differ in their names, in what is shown, and in how large they may be. */
export function contentRoutes(app: FastifyInstance, context: ApiContext): void {
  kindRoutes(app, context, 'secret', (body) => read(SecretSpecSchema, body, 'secret spec'));
  kindRoutes(app, context, 'config', (body) => read(ConfigSpecSchema, body, 'config spec'));
}

function kindRoutes(
  app: FastifyInstance,
  context: ApiContext,
  kind: ContentKind,
  readSpec: (body: unknown) => SecretSpec,
): void {
  app.get(`/${kind}s`, async (request) => {
    const view = await currentView(context);
    const filters = parseFilters(queryText(request, 'filters'), CONTENT_FILTERS[kind]);
    return filterContents(view, kind, filters).map((record) => contentObject(kind, record));
  });

  app.post(`/${kind}s/create`, async (request, reply) => {
    const body = bodyJson(request);
    const replica = replicaOf(context);
    const spec = withStandardData(readSpec(body));
    const id = await asClusterRequest(() =>
      replica.submit((view, { rng }) => createContent(view, { kind, spec }, { rng, digest })),
    );
    return reply.code(201).send({ ID: id });
  });

  app.get(`/${kind}s/:id`, async (request) =>
    contentObject(kind, findContent(await currentView(context), kind, pathParameter(request, 'id'))),
  );

  app.post(`/${kind}s/:id/update`, async (request, reply) => {
    const version = queryVersion(request, kind);
    const body = bodyJson(request);
    const view = await currentView(context);
    const spec = withStandardData(readSpec(body));
    const { id } = findContent(view, kind, pathParameter(request, 'id'));
    await asClusterRequest(() =>
      replicaOf(context).submit((now, { rng }) => updateContent(now, { kind, id, version, spec }, { rng, digest })),
    );
    return reply.code(200).send();
  });

  app.delete(`/${kind}s/:id`, async (request, reply) => {
    const { id } = findContent(await currentView(context), kind, pathParameter(request, 'id'));
    await asClusterRequest(() => replicaOf(context).submit((view) => removeContent(view, { kind, id })));
    return reply.code(204).send();
  });

  // Docker refuses other data for a name that is there; from `docker stack deploy` they are taken above.
  app.post(`/apiary/v1/${kind}s/:id/versions`, async (request, reply) => {
    const version = withStandardData(read(ContentVersionSchema, bodyJson(request), `${kind} version`));
    const { id } = findContent(await currentView(context), kind, pathParameter(request, 'id'));
    const newId = await asClusterRequest(() =>
      replicaOf(context).submit((view, { rng }) => putContentVersion(view, { kind, id, version }, { rng, digest })),
    );
    return reply.code(201).send({ ID: newId });
  });
}

function withStandardData<T extends { Data?: string | undefined }>(given: T): T {
  return given.Data === undefined ? given : { ...given, Data: standardBase64(given.Data) };
}

function digest(salt: string, text: string): string {
  return createHmac('sha256', Buffer.from(salt, 'hex')).update(text).digest('hex');
}
