import { ATTACHABLE_DRIVER, type NetworkSpec, NetworkSpecSchema, read } from '@apiary/api/model';
import { ApiaryError, type Clock } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import {
  type Filters,
  filterNetworks,
  findNetwork,
  isDangling,
  isOverlay,
  labelsMatch,
  NETWORK_FILTERS,
  networkDetails,
  networkObject,
  networkUsage,
  parseFilters,
} from '../../core/engine-api/index.js';
import { checkNetworkWords, createNetwork, isBeingLeft, removeNetwork } from '../../core/requests/index.js';
import type { NetworkRecord } from '../../core/store/records.js';
import type { View } from '../../core/store/view.js';
import type { Replica } from '../ports.js';
import { refuseUnknown, untilOfEngine } from './attachable-networks.js';
import { type ApiContext, currentView, replicaOf } from './context.js';
import { asClusterRequest } from './error-reply.js';
import { bodyJson, pathParameter, queryFlag, queryText } from './request-reading.js';

/**
 * Networks are the engine's, but for those of the cluster: a list has both, a name is looked for first among the
 * cluster's. A node that is no manager has the engine's alone.
 */
export function networkRoutes(app: FastifyInstance, context: ApiContext, clock: Clock): void {
  const { engine } = context;

  app.get('/networks', async (request, reply) => {
    if (!isManager(context)) return engine.forwardFrom(request, reply);
    const filters = parseFilters(queryText(request, 'filters'), NETWORK_FILTERS);
    const [view, own] = await Promise.all([currentView(context), engine.object(request.originalUrl)]);
    const engines: unknown[] = (Array.isArray(own) ? own : []).filter((network) => !standsForOurs(network));
    return [...engines, ...filterNetworks(view, filters).map((network) => networkObject(view, network))];
  });

  app.post('/networks/create', async (request, reply) => {
    const asked = bodyJson(request);
    if (asksForSwarmScope(asked)) return reply.code(201).send(await create(context, asked));
    await refuseNameOfCluster(context, asked);
    return engine.forwardFrom(request, reply);
  });

  app.post('/networks/prune', async (request, reply) => {
    if (!isManager(context)) return engine.forwardFrom(request, reply);
    const filters = parseFilters(queryText(request, 'filters'), ['label', 'label!', 'until', 'dangling']);
    const ours = new Set((await currentView(context)).networks().map(({ spec }) => spec.Name));
    const removed = await prune(context, filters, clock.now());
    const own = await engine.object(request.originalUrl, 'POST');
    const engines: unknown[] = Array.isArray(own?.['NetworksDeleted']) ? own['NetworksDeleted'] : [];
    // What stood for one of the cluster's is made again when it is wanted: of that one it says nothing.
    const names = [...engines.filter((name) => !ours.has(String(name))), ...removed];
    return { NetworksDeleted: names.length === 0 ? null : names };
  });

  app.get('/networks/:id', async (request, reply) => {
    const reference = pathParameter(request, 'id');
    const scope = queryText(request, 'scope') ?? '';
    const verbose = queryFlag(request, 'verbose');
    if (scope === 'swarm') {
      const view = await currentView(context);
      return networkDetails(view, findNetwork(view, reference, { withEngines: true }), { verbose });
    }
    if (scope !== '' || !isManager(context)) return engine.forwardFrom(request, reply);
    const network = await lookUp(context, reference);
    if (network === undefined) return engine.forwardFrom(request, reply);
    return networkDetails(replicaOf(context).view, network, { verbose });
  });

  app.get('/apiary/v1/networks/:id/usage', async (request) => {
    const view = await currentView(context);
    return networkUsage(view, findNetwork(view, pathParameter(request, 'id')));
  });

  app.delete('/networks/:id', async (request, reply) => {
    const network = isManager(context) ? await lookUp(context, pathParameter(request, 'id')) : undefined;
    if (network === undefined) return engine.forwardFrom(request, reply);
    const replica = replicaOf(context);
    // Docker's clients take a stack's networks away right after its services, whose containers are still stopping then.
    await untilLeft(replica, network.id);
    await asClusterRequest(() => replica.submit((view) => removeNetwork(view, network.id)));
    return reply.code(204).send();
  });

  for (const action of ['connect', 'disconnect']) {
    app.post(`/networks/:id/${action}`, async (request, reply) => {
      if (!isManager(context)) return engine.forwardFrom(request, reply);
      const reference = pathParameter(request, 'id');
      const network = await lookUp(context, reference);
      await refuseStranger(context, bodyJson(request));
      if (network !== undefined) {
        await untilOfEngine(context, network);
        const [version = ''] = /^\/v[\d.]+/.exec(request.originalUrl) ?? [];
        const path = `${version}/networks/${encodeURIComponent(network.spec.Name)}/${action}`;
        return engine.forwardFrom(request, reply, path);
      }
      if (action === 'connect') await refuseUnknown(context, reference);
      return engine.forwardFrom(request, reply);
    });
  }
}

/** The engine's own network by which containers come to one of the cluster's, that is shown itself. */
function standsForOurs(network: unknown): boolean {
  return typeof network === 'object' && network !== null && 'Driver' in network && network.Driver === ATTACHABLE_DRIVER;
}

function isManager({ node }: ApiContext): boolean {
  return node.status().controlAvailable;
}

/**
 * The cluster's network that is meant; undefined when it is one of the engine's, or none. The engine's come before the
 * beginning of an id of the cluster's.
 */
async function lookUp(context: ApiContext, reference: string): Promise<NetworkRecord | undefined> {
  const view = await currentView(context);
  let network: NetworkRecord;
  try {
    network = findNetwork(view, reference);
  } catch (error) {
    if (error instanceof ApiaryError && error.code === 'not-found') return undefined;
    throw error;
  }
  if (network.id === reference || network.spec.Name === reference) return network;
  const own = await context.engine.object(`/networks/${encodeURIComponent(reference)}`);
  return own === undefined ? network : undefined;
}

async function create(context: ApiContext, body: unknown): Promise<{ Id: string; Warning: string }> {
  const { state, controlAvailable } = context.node.status();
  if (state === 'active' && !controlAvailable) {
    const words =
      'Cannot create a multi-host network from a worker node. Please create the network from a manager node.';
    throw new ApiaryError('permission-denied', words);
  }
  const replica = replicaOf(context);
  const spec = read(NetworkSpecSchema, body, 'network');
  checkNetworkWords(spec);
  await refuseNameOfEngine(context, spec);
  if (replica.view.networks().some((network) => network.spec.Name === spec.Name)) throw alreadyExists(spec.Name);
  const id = await asClusterRequest(() => replica.submit((view, { rng }) => createNetwork(view, spec, rng)));
  return { Id: id, Warning: '' };
}

async function refuseNameOfEngine({ engine }: ApiContext, { Name }: NetworkSpec): Promise<void> {
  if (Name === '') throw new ApiaryError('invalid-argument', 'invalid name: ');
  const own = await engine.object(`/networks/${encodeURIComponent(Name)}`);
  if (own?.['Name'] === Name) throw alreadyExists(Name);
}

async function refuseNameOfCluster(context: ApiContext, body: unknown): Promise<void> {
  if (!isManager(context) || typeof body !== 'object' || body === null || !('Name' in body)) return;
  const view = await currentView(context);
  const { Name } = body;
  if (view.networks().some((network) => network.spec.Name === Name && isOverlay(network))) {
    throw alreadyExists(String(Name));
  }
}

function alreadyExists(name: string): ApiaryError {
  return new ApiaryError('already-exists', `network with name ${name} already exists`);
}

/** A driver's networks that only say how others are to be made are the engine's whatever the driver. */
function asksForSwarmScope(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false;
  if ('ConfigOnly' in body && body.ConfigOnly === true) return false;
  return ('Driver' in body && body.Driver === 'overlay') || ('Scope' in body && body.Scope === 'swarm');
}

/** Removes the cluster's networks that nobody uses. @returns their names */
async function prune(context: ApiContext, filters: Filters, nowMs: number): Promise<string[]> {
  const replica = replicaOf(context);
  const view = await currentView(context);
  const removed: string[] = [];
  for (const network of unused(view, filters, nowMs)) {
    try {
      await replica.submit((now) => removeNetwork(now, network.id));
      removed.push(network.spec.Name);
    } catch (error) {
      // Somebody else has removed it, or uses it by now.
      if (!(error instanceof ApiaryError) || !['not-found', 'failed-precondition'].includes(error.code)) throw error;
    }
  }
  return removed;
}

function unused(view: View, filters: Filters, nowMs: number): NetworkRecord[] {
  const until = filters.get('until')?.map((text) => untilMs(text, nowMs)) ?? [];
  const without = filters.get('label!') ?? [];
  return view
    .networks()
    .filter(
      (network) =>
        isDangling(view, network) &&
        until.every((ms) => network.meta.createdAtMs < ms) &&
        labelsMatch(filters, 'label', network.spec.Labels) &&
        without.every((label) => !labelsMatch(new Map([['label', [label]]]), 'label', network.spec.Labels)),
    );
}

/** @throws ApiaryError `not-found` in the engine's words: a container is looked for before the network is */
async function refuseStranger({ engine }: ApiContext, asked: unknown): Promise<void> {
  if (typeof asked !== 'object' || asked === null || !('Container' in asked)) return;
  const container = String(asked.Container);
  if (container === '' || !(await engine.lacks(`/containers/${encodeURIComponent(container)}/json`))) return;
  throw new ApiaryError('not-found', `No such container: ${container}`);
}

const UNIT_MS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A moment as Docker's clients send it: seconds since the epoch, a time in RFC 3339, or how long ago (`1h30m`). */
function untilMs(text: string, nowMs: number): number {
  if (/^(?:\d+(?:\.\d+)?(?:[nuµm]?s|[mh]))+$/.test(text)) {
    const parts = text.matchAll(/([\d.]+)([a-zµ]+)/g);
    return nowMs - [...parts].reduce((sum, [, count, unit = '']) => sum + Number(count) * (UNIT_MS[unit] ?? 0), 0);
  }
  const ms = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (Number.isNaN(ms)) throw new ApiaryError('invalid-argument', `invalid filter: until=${text}: expected a time`);
  return ms;
}

/** Longer than the grace that containers have by default to end. */
const LEAVING_MS = 15_000;

function untilLeft(replica: Replica, networkId: string): Promise<void> {
  if (!isBeingLeft(replica.view, networkId)) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    };
    const timer = setTimeout(end, LEAVING_MS);
    const unsubscribe = replica.subscribe(() => {
      if (!isBeingLeft(replica.view, networkId)) end();
    });
  });
}
