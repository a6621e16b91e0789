import { ApiaryError } from '@apiary/std';
import type { FastifyRequest } from 'fastify';
import { findContent, findNetwork, findService, findTask } from '../../core/engine-api/index.js';
import type { View } from '../../core/store/view.js';
import { STACK_LABEL } from '../../core/trust/index.js';
import { bodyJson, pathParameter, queryText } from './request-reading.js';

/**
 * What is there for a client that is bound to a stack: the objects with the stack's label, and tasks of such services.
 * All others do not exist for it.
 */

/**
 * Refuses a request about an object of another stack, in the words of one that is not there.
 *
 * @throws ApiaryError `not-found`, `permission-denied` for what would leave the stack
 */
export function checkScope(view: View, stack: string, request: FastifyRequest): void {
  const { method, url, routeOptions } = request;
  // Of the route that was found, not of the path as it was sent: `%63reate` is `create` too.
  const [, kind = '', reference = '', action] = (routeOptions.url ?? '').split('/');
  if (kind === 'apiary') {
    checkService(view, stack, queryText(request, 'service') ?? '');
    return;
  }
  if (method === 'POST' && (reference === 'create' || action === 'update')) checkBody(stack, kind, request);
  if (reference === '' || reference === 'create') return;
  if (reference !== ':id') {
    throw new ApiaryError('permission-denied', `this certificate is for stack ${stack}: ${url} is not for a stack`);
  }
  const name = pathParameter(request, 'id');
  if (kind === 'services') checkService(view, stack, name);
  if (kind === 'tasks') checkService(view, stack, findTask(view, name).serviceId);
  if (kind === 'networks') checkNetwork(view, stack, name);
  if (kind === 'secrets' || kind === 'configs') {
    const contentKind = kind === 'secrets' ? 'secret' : 'config';
    const { spec } = findContent(view, contentKind, name);
    if (spec.Labels?.[STACK_LABEL] !== stack) throw new ApiaryError('not-found', `${contentKind} ${name} not found`);
  }
}

/** Of a list that goes out, what is the stack's. */
export function inScope(view: View, stack: string, payload: unknown): unknown {
  if (!Array.isArray(payload)) return payload;
  return payload.filter((object: unknown) => {
    const serviceId = field(object, 'ServiceID');
    const labels =
      typeof serviceId === 'string'
        ? view.service(serviceId)?.spec.Labels
        : (field(field(object, 'Spec'), 'Labels') ?? field(object, 'Labels'));
    return field(labels, STACK_LABEL) === stack;
  });
}

function checkNetwork(view: View, stack: string, reference: string): void {
  if (findNetwork(view, reference).spec.Labels?.[STACK_LABEL] === stack) return;
  throw new ApiaryError('not-found', `network ${reference} not found`);
}

function field(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

function checkService(view: View, stack: string, reference: string): void {
  const service = findService(view, reference);
  if (service.spec.Labels?.[STACK_LABEL] !== stack) {
    throw new ApiaryError('not-found', `service ${reference} not found`);
  }
}

function checkBody(stack: string, kind: string, request: FastifyRequest): void {
  const body = bodyJson(request);
  if (field(field(body, 'Labels'), STACK_LABEL) !== stack) {
    throw new ApiaryError(
      'permission-denied',
      `this certificate is for stack ${stack}: label ${STACK_LABEL} must say so`,
    );
  }
  if (kind !== 'services') return;
  const mounts = field(field(field(body, 'TaskTemplate'), 'ContainerSpec'), 'Mounts');
  if (Array.isArray(mounts) && mounts.some((mount: unknown) => field(mount, 'Type') === 'bind')) {
    const message = `this certificate is for stack ${stack}: a folder of a host may not be mounted with it`;
    throw new ApiaryError('permission-denied', message);
  }
}
