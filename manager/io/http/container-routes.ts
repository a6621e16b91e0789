import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { withoutVersion } from './api-version.js';
import { attachableName } from './attachable-networks.js';
import type { ApiContext } from './context.js';
import { pathOf } from './request-reading.js';

/** Whether a request that is the engine's own is looked at before it is passed on. */
export function isLookedAt({ method, url = '' }: Pick<IncomingMessage, 'method' | 'url'>): boolean {
  return method === 'POST' && pathOf(withoutVersion(url)) === '/containers/create';
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
