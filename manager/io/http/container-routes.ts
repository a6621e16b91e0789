import type { IncomingMessage } from 'node:http';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { withoutVersion } from './api-version.js';
import { attachableName, refuseUnknown } from './attachable-networks.js';
import type { ApiContext } from './context.js';
import { pathOf, pathParameter } from './request-reading.js';

/** Whether a request that is the engine's own is looked at before it is passed on. */
export function isLookedAt({ method, url = '' }: Pick<IncomingMessage, 'method' | 'url'>): boolean {
  return method === 'POST' && /^\/containers\/(?:create|[^/]+\/start)$/.test(pathOf(withoutVersion(url)));
}

/**
 * Containers are the engine's. One that is to be on a network of the cluster gets it by the engine's own network of that
 * name, which this node's agent keeps where the cluster's is attachable. As with Docker, one can be made for whatever network,
 * and is refused when it starts.
 */
export function containerRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/containers/create', async (request, reply) => {
    const asked = readBody(request.body);
    const names = new Map<string, string>();
    for (const reference of networksOf(asked)) {
      const name = await attachableName(context, reference).catch(ofRefused);
      if (name !== undefined && name !== reference) names.set(reference, name);
    }
    if (names.size > 0) request.body = Buffer.from(JSON.stringify(withNames(asked, names)));
    return context.engine.forwardFrom(request, reply);
  });

  app.post('/containers/:id/start', async (request, reply) => {
    if (context.node.status().controlAvailable) {
      const path = `/containers/${encodeURIComponent(pathParameter(request, 'id'))}/json`;
      for (const reference of networksOf(heldBy(await context.engine.object(path)))) {
        if ((await attachableName(context, reference)) === undefined) await refuseUnknown(context, reference);
      }
    }
    return context.engine.forwardFrom(request, reply);
  });
}

/** What a container may not be on is said when it starts. */
function ofRefused(error: unknown): undefined {
  if (error instanceof ApiaryError && error.code === 'permission-denied') return undefined;
  throw error;
}

/** The networks of a container that is there, in the form of a request for one. */
function heldBy(container: unknown): unknown {
  const networks = member(member(container, 'NetworkSettings'), 'Networks');
  return { HostConfig: member(container, 'HostConfig'), NetworkingConfig: { EndpointsConfig: networks } };
}

/** Undefined when the engine has something else to say of it. */
function readBody(body: unknown): unknown {
  try {
    return JSON.parse(String(body));
  } catch {
    return undefined;
  }
}

/** The networks that are asked for, by name or id; not those that are another container's, or the engine's choice. */
function networksOf(asked: unknown): string[] {
  const mode = member(member(asked, 'HostConfig'), 'NetworkMode');
  const endpoints = member(member(asked, 'NetworkingConfig'), 'EndpointsConfig');
  const names = isObject(endpoints) ? Object.keys(endpoints) : [];
  const all = new Set(typeof mode === 'string' ? [mode, ...names] : names);
  return [...all].filter((name) => !ALWAYS_THERE.has(name) && !name.startsWith('container:'));
}

const ALWAYS_THERE = new Set(['', 'default', 'bridge', 'host', 'none']);

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
