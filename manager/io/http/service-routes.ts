import { readRegistryAuth, registryAuthHeader } from '@apiary/api/client';
import { read, type ServiceSpec, ServiceSpecSchema } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  filterServices,
  findService,
  parseFilters,
  SERVICE_FILTERS,
  serviceObject,
  serviceStatus,
} from '../../core/engine-api/index.js';
import { isAllocated } from '../../core/plan/index.js';
import {
  type AskedRegistryAuth,
  checkConstraints,
  checkWords,
  createService,
  removeService,
  updateService,
  withNetworkIds,
} from '../../core/requests/index.js';
import type { View } from '../../core/store/view.js';
import type { Replica } from '../ports.js';
import { type ApiContext, currentView, replicaOf } from './context.js';
import { asClusterRequest, withoutGrpcCode } from './error-reply.js';
import { bodyJson, pathParameter, queryText, queryVersion, strictQueryFlag } from './request-reading.js';
import type { ServiceWatches } from './service-watch.js';

export function serviceRoutes(app: FastifyInstance, context: ApiContext, watches: ServiceWatches): void {
  const { node } = context;

  app.get('/services', async (request) => {
    const withStatus = strictQueryFlag(request, 'status');
    const view = await currentView(context);
    const filters = parseFilters(queryText(request, 'filters'), SERVICE_FILTERS);
    return filterServices(view, filters).map((service) => ({
      ...serviceObject(service, view),
      ...(withStatus ? { ServiceStatus: serviceStatus(service, view.tasksOfService(service.id)) } : {}),
    }));
  });

  app.get('/services/:id', async (request) => {
    const insertDefaults = strictQueryFlag(request, 'insertDefaults');
    const view = await currentView(context);
    const service = findService(view, pathParameter(request, 'id'));
    return serviceObject(service, view, { insertDefaults });
  });

  app.post('/services/create', async (request, reply) => {
    const body = bodyJson(request);
    const replica = replicaOf(context);
    const spec = readSpec(body);
    refuseUnknownNetworks(await viewFor(context, spec), spec);
    const { given, ...warnings } = registryAuthOf(request);
    const auth = given === '' ? undefined : given;
    const id = await asClusterRequest(() => replica.submit((view, { rng }) => createService(view, spec, rng, auth)));
    await untilAllocated(replica, id);
    return reply.code(201).send({ ID: id, ...warnings });
  });

  app.post('/services/:id/update', async (request) => {
    const version = queryVersion(request, 'service');
    const body = bodyJson(request);
    const rollback = rollbackOf(request);
    const { given, ...warnings } = registryAuthOf(request);
    const registryAuth = askedRegistryAuth(request, given);
    const view = await currentView(context);
    const spec = readSpec(body);
    const { id } = findService(view, pathParameter(request, 'id'));
    refuseUnknownNetworks(view, spec);
    await asClusterRequest(() =>
      replicaOf(context).submit((now, { nowMs }) =>
        updateService(now, { id, version, spec, rollback, ...(registryAuth && { registryAuth }) }, nowMs),
      ),
    );
    await untilAllocated(replicaOf(context), id);
    // Docker answers the key also when there is nothing to warn of.
    return { Warnings: null, ...warnings };
  });

  app.delete('/services/:id', async (request, reply) => {
    const { id } = findService(await currentView(context), pathParameter(request, 'id'));
    await asClusterRequest(() => replicaOf(context).submit((view) => removeService(view, id)));
    return reply.code(200).send();
  });

  app.get('/apiary/v1/watch', async (request, reply) => {
    const reference = queryText(request, 'service');
    if (reference === undefined || reference === '') {
      throw new ApiaryError('invalid-argument', 'watch: name what to watch: ?service=ID');
    }
    const { id } = findService(await currentView(context), reference);
    watches.start(node, id, reply.raw);
    reply.hijack();
  });
}

/** Only networks have to be looked up. */
async function viewFor(context: ApiContext, spec: ServiceSpec): Promise<View> {
  const names = [...(spec.TaskTemplate.Networks ?? []), ...(spec.Networks ?? [])];
  return names.length === 0 ? replicaOf(context).view : await currentView(context);
}

/** Docker's engine looks for networks itself, and says in its own words that there is none of a name. */
function refuseUnknownNetworks(view: View, spec: ServiceSpec): void {
  try {
    withNetworkIds(view, spec);
  } catch (error) {
    if (error instanceof ApiaryError && error.code === 'not-found') throw error;
  }
}

/** How long a client waits for its service's addresses and ports: without a leader they come later. */
const LONGEST_ALLOCATION_MS = 1_000;

/** Who has made a service looks at it next: what the leader gives it is then there to be seen. */
function untilAllocated(replica: Replica, id: string): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    };
    const timer = setTimeout(finish, LONGEST_ALLOCATION_MS);
    const unsubscribe = replica.subscribe(({ services }) => {
      if (services.has(id) && isAllocated(replica.view, id)) finish();
    });
    if (isAllocated(replica.view, id)) finish();
  });
}

/** Reads a spec, and finds the faults that Docker's clients see in other words than SwarmKit's. */
function readSpec(body: unknown): ServiceSpec {
  const spec = read(ServiceSpecSchema, body, 'service spec');
  checkWords(spec);
  try {
    checkConstraints(spec);
  } catch (error) {
    throw withoutGrpcCode(error);
  }
  return spec;
}

/** `rollback=previous` goes back to the spec before; the body, which still has to be one, is then not looked at. */
function rollbackOf(request: FastifyRequest): boolean {
  const text = queryText(request, 'rollback') ?? '';
  if (text === '' || text === 'previous') return text === 'previous';
  throw new ApiaryError('invalid-argument', `unrecognized rollback option ${text}: expected previous`);
}

/**
 * What the client sends for the registry that the image is of.
 *
 * @returns `given` is empty when it says that there is nothing to be known by, and undefined when it says nothing
 */
function registryAuthOf({ headers }: FastifyRequest): { given?: string; Warnings?: string[] } {
  const header = headers['x-registry-auth'];
  if (header === undefined || header === '') return {};
  const auth = readRegistryAuth(String(header));
  if (auth === undefined) {
    return {
      Warnings: ['X-Registry-Auth is not JSON in base64: nothing was kept of it, and images are pulled without'],
    };
  }
  const isEmpty = Object.entries(auth).every(([key, value]) => key === 'serveraddress' || !value);
  return { given: isEmpty ? '' : registryAuthHeader(auth) };
}

/** `registryAuthFrom` counts for whoever sends no credentials: those of the spec that is there are kept, or the one before. */
function askedRegistryAuth(request: FastifyRequest, given: string | undefined): AskedRegistryAuth | undefined {
  const from = queryText(request, 'registryAuthFrom') ?? '';
  if (!['', 'spec', 'previous-spec'].includes(from)) {
    throw new ApiaryError('invalid-argument', `unsupported registryAuthFrom value ${from}: spec or previous-spec`);
  }
  if (given !== undefined) return { given };
  return from === 'previous-spec' ? from : undefined;
}
