import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { isOverlay } from '../../core/engine-api/index.js';
import type { ApiContext } from './context.js';

/** What of the engine's own is looked at before it is passed on. */
const LOOKED_AT = /^(?:\/v\d+\.\d+)?\/containers\/create(?:\?|$)/;

export function isLookedAt({ method, url = '' }: { method?: string | undefined; url?: string | undefined }): boolean {
  return method === 'POST' && LOOKED_AT.test(url);
}

/**
 * Containers are the engine's. One that is to be on a network of the cluster is refused here: the engine would say that there
 * is no such network, after `network ls` has shown it.
 */
export function containerRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/containers/create', async (request, reply) => {
    for (const reference of networksOf(request.body)) await refuseOfCluster(context, reference);
    return context.engine.forwardFrom(request, reply);
  });
}

/** The networks that are asked for, by name or id; none when the engine has something else to say of the body. */
function networksOf(body: unknown): string[] {
  let asked: unknown;
  try {
    asked = JSON.parse(String(body));
  } catch {
    return [];
  }
  const mode = member(member(asked, 'HostConfig'), 'NetworkMode');
  const endpoints = member(member(asked, 'NetworkingConfig'), 'EndpointsConfig');
  const names = typeof endpoints === 'object' && endpoints !== null ? Object.keys(endpoints) : [];
  return [...new Set(typeof mode === 'string' ? [mode, ...names] : names)];
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined;
}

async function refuseOfCluster(context: ApiContext, reference: string): Promise<void> {
  if (!context.node.status().controlAvailable) return;
  // As far as it is known here: a container that only runs here must not wait for a leader.
  const networks = context.node.replica().view.networks().filter(isOverlay);
  const network = networks.find(({ id, spec }) => id === reference || spec.Name === reference);
  if (network === undefined) return;
  const own = await context.engine.object(`/networks/${encodeURIComponent(reference)}`);
  if (own !== undefined) return;
  throw new ApiaryError(
    'unimplemented',
    `network ${network.spec.Name} is of the cluster: only tasks of services are attached to it by this version. Create a service`,
  );
}
