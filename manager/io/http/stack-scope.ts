import { type ContentKind, FOLLOWS } from '@apiary/api/model';
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
  if (method === 'POST' && (reference === 'create' || action === 'update')) checkBody(view, stack, kind, request);
  if (reference === '' || reference === 'create') return;
  if (reference !== ':id') {
    throw new ApiaryError('permission-denied', `this certificate is for stack ${stack}: ${url} is not for a stack`);
  }
  const name = pathParameter(request, 'id');
  if (kind === 'services') checkService(view, stack, name);
  if (kind === 'tasks') checkService(view, stack, findTask(view, name).serviceId);
  if (kind === 'networks') checkNetwork(view, stack, name);
  if (kind === 'secrets' || kind === 'configs') {
    checkContent(view, stack, kind === 'secrets' ? 'secret' : 'config', name);
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

function checkContent(view: View, stack: string, kind: ContentKind, reference: string): void {
  if (findContent(view, kind, reference).spec.Labels?.[STACK_LABEL] === stack) return;
  throw new ApiaryError('not-found', `${kind} ${reference} not found`);
}

function checkBody(view: View, stack: string, kind: string, request: FastifyRequest): void {
  const body = bodyJson(request);
  if (field(field(body, 'Labels'), STACK_LABEL) !== stack) {
    throw new ApiaryError(
      'permission-denied',
      `this certificate is for stack ${stack}: label ${STACK_LABEL} must say so`,
    );
  }
  if (kind !== 'services') return;
  const template = field(body, 'TaskTemplate');
  const container = field(template, 'ContainerSpec');
  for (const mount of listOf(container, 'Mounts')) checkMount(stack, mount);
  for (const secret of listOf(container, 'Secrets')) checkContentOf(view, stack, 'secret', secret, 'Secret');
  for (const config of listOf(container, 'Configs')) checkContentOf(view, stack, 'config', config, 'Config');
  for (const network of [...listOf(body, 'Networks'), ...listOf(template, 'Networks')]) {
    checkNetwork(view, stack, String(field(network, 'Target') ?? ''));
  }
}

/** By its id, and by its name: one that follows the name has no id of its own. */
function checkContentOf(view: View, stack: string, kind: ContentKind, given: unknown, word: string): void {
  const [id, name] = [field(given, `${word}ID`), field(given, `${word}Name`)];
  if (typeof name === 'string' && name !== '') checkContent(view, stack, kind, name);
  if (typeof id === 'string' && id !== '' && id !== FOLLOWS) checkContent(view, stack, kind, id);
}

/** Volumes have no labels that the managers know: those of a stack begin with its name, as its own commands make them. */
function checkMount(stack: string, mount: unknown): void {
  const refused = (what: string) =>
    new ApiaryError('permission-denied', `this certificate is for stack ${stack}: ${what} may not be mounted with it`);
  const [type, source] = [field(mount, 'Type'), field(mount, 'Source')];
  if (type === 'tmpfs') return;
  if (type !== 'volume') throw refused('a folder of a host');
  if (field(field(mount, 'VolumeOptions'), 'DriverConfig') !== undefined) throw refused('a volume with a driver');
  if (typeof source === 'string' && source !== '' && !source.startsWith(`${stack}_`)) throw refused(`volume ${source}`);
}

function listOf(value: unknown, key: string): unknown[] {
  const list = field(value, key);
  return Array.isArray(list) ? list : [];
}
