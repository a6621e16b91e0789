import { setTimeout } from 'node:timers/promises';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { isOverlay } from '../../core/engine-api/index.js';
import { notAttachable } from '../../core/requests/index.js';
import type { NetworkRecord } from '../../core/store/records.js';
import type { ApiContext } from './context.js';

/** What of the engine's own is looked at before it is passed on. */
const LOOKED_AT = /^(?:\/v\d+\.\d+)?\/containers\/create(?:\?|$)/;

export function isLookedAt({ method, url = '' }: { method?: string | undefined; url?: string | undefined }): boolean {
  return method === 'POST' && LOOKED_AT.test(url);
}

/**
 * Containers are the engine's. One that is to be on a network of the cluster gets it by the engine's own network of that
 * name, which this node's agent keeps where the cluster's is attachable.
 */
export function containerRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/containers/create', async (request, reply) => {
    const asked = readBody(request.body);
    const names = new Map<string, string>();
    for (const reference of networksOf(asked)) {
      const name = await attachableName(context, reference);
      if (name !== undefined && name !== reference) names.set(reference, name);
    }
    if (names.size > 0) request.body = Buffer.from(JSON.stringify(withNames(asked, names)));
    return context.engine.forwardFrom(request, reply);
  });
}

/** Undefined when the engine has something else to say of it. */
function readBody(body: unknown): unknown {
  try {
    return JSON.parse(String(body));
  } catch {
    return undefined;
  }
}

/** The networks that are asked for, by name or id. */
function networksOf(asked: unknown): string[] {
  const mode = member(member(asked, 'HostConfig'), 'NetworkMode');
  const endpoints = member(member(asked, 'NetworkingConfig'), 'EndpointsConfig');
  const names = isObject(endpoints) ? Object.keys(endpoints) : [];
  return [...new Set(typeof mode === 'string' ? [mode, ...names] : names)];
}

/** With the names that the engine knows in the place of the cluster's ids. */
function withNames(asked: unknown, names: ReadonlyMap<string, string>): unknown {
  const nameOf = (reference: unknown) => names.get(String(reference)) ?? reference;
  const host = member(asked, 'HostConfig');
  const networking = member(asked, 'NetworkingConfig');
  const endpoints = member(networking, 'EndpointsConfig');
  return {
    ...(isObject(asked) && asked),
    ...(isObject(host) && { HostConfig: { ...host, NetworkMode: nameOf(member(host, 'NetworkMode')) } }),
    ...(isObject(endpoints) && {
      NetworkingConfig: {
        ...(isObject(networking) && networking),
        EndpointsConfig: Object.fromEntries(Object.entries(endpoints).map(([key, value]) => [nameOf(key), value])),
      },
    }),
  };
}

function member(value: unknown, name: string): unknown {
  return isObject(value) ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** How long the engine may take to have a network that was just made. */
const MOST_LOOKS = 100;
const LOOK_PERIOD_MS = 50;

/**
 * The name of the cluster's network that is meant, once the engine has one of that name; undefined when none of the cluster's is.
 *
 * @throws ApiaryError `permission-denied` in Docker's words for one that is not attachable
 */
async function attachableName(context: ApiContext, reference: string): Promise<string | undefined> {
  if (!context.node.status().controlAvailable) return undefined;
  // As far as it is known here: a container that only runs here must not wait for a leader.
  const networks = context.node.replica().view.networks().filter(isOverlay);
  const network = networks.find(({ id, spec }) => id === reference || spec.Name === reference);
  if (network === undefined) return undefined;
  await untilOfEngine(context, network);
  return network.spec.Name;
}

/**
 * Waits until the engine has a network of the cluster as one of its own.
 *
 * @throws ApiaryError `permission-denied` in Docker's words when it is not attachable; `unavailable` when the engine does not get it
 */
export async function untilOfEngine({ engine }: ApiContext, { spec, kind }: NetworkRecord): Promise<void> {
  const { Name, Attachable = false } = spec;
  const has = async () => (await engine.object(`/networks/${encodeURIComponent(Name)}`)) !== undefined;
  if (kind !== 'overlay' || !Attachable) {
    if (await has()) return;
    const words = `Could not attach to network ${Name}: rpc error: code = PermissionDenied desc = ${notAttachable(Name).message}`;
    throw new ApiaryError('permission-denied', words);
  }
  for (let looks = 1; !(await has()); looks++) {
    if (looks >= MOST_LOOKS) {
      const words = `network ${Name} is of the cluster, and this node's engine has not got it: swarmd's log says why`;
      throw new ApiaryError('unavailable', words);
    }
    await setTimeout(LOOK_PERIOD_MS);
  }
}
