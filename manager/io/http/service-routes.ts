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
    const id = await asClusterRequest(() => replica.submit((view, { rng }) => createService(view, spec, rng)));
    await untilAllocated(replica, id);
    return reply.code(201).send({ ID: id, ...warnings(request) });
  });

  app.post('/services/:id/update', async (request) => {
    const version = queryVersion(request, 'service');
    const body = bodyJson(request);
    const rollback = rollbackOf(request);
    const view = await currentView(context);
    const spec = readSpec(body);
    const { id } = findService(view, pathParameter(request, 'id'));
    refuseUnknownNetworks(view, spec);
    await asClusterRequest(() =>
      replicaOf(context).submit((now, { nowMs }) => updateService(now, { id, version, spec, rollback }, nowMs)),
    );
    await untilAllocated(replicaOf(context), id);
    return warnings(request);
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

/** Base64 of `{}`, which clients send for no credentials at all. */
const NO_CREDENTIALS = ['', 'e30', 'e30=', 'bnVsbA=='];

function warnings({ headers }: FastifyRequest): { Warnings?: string[] } {
  const auth = headers['x-registry-auth'];
  if (auth === undefined || NO_CREDENTIALS.includes(String(auth))) return {};
  return {
    Warnings: [
      'registry credentials were not kept: this version pulls without them, so that nodes need the image already ' +
        'or a registry that lets everybody pull',
    ],
  };
}
