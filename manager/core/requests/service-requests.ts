import type { ServiceSpec } from '@apiary/api/model';
import { ApiaryError, newId, type Rng } from '@apiary/std';
import type { Guard } from '../store/change.js';
import type { ServiceRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { checkReferences } from './content-references.js';
import type { Decision } from './decision.js';
import { checkDependencies } from './dependency-label.js';
import { refuseUnhonoured } from './honoured.js';
import { checkEndpoint, refuseUnhonouredNetworks, withNetworkIds } from './network-references.js';
import { randomServiceName } from './service-name.js';
import { checkServiceSpec } from './service-spec-check.js';
import { checkWords } from './spec-words.js';

/**
 * Makes a service. One without a name gets one.
 *
 * @param registryAuth  what its image is pulled with, as `SpecVersion` has it; undefined for nothing
 * @returns the id of the service
 * @throws ApiaryError `invalid-argument`, `unimplemented` for what this version does not honour, `already-exists`
 */
export function createService(view: View, given: ServiceSpec, rng: Rng, registryAuth?: string): Decision<string> {
  const name = given.Name === undefined || given.Name === '' ? randomServiceName(view, rng) : given.Name;
  const spec = withNetworkIds(view, { ...given, Name: name });
  checkSpec(spec);
  checkDependencies(view, name, spec);
  refuseUnhonouredNetworks(view, spec);
  if (view.serviceByName(name) !== undefined) {
    throw new ApiaryError('already-exists', `name conflicts with an existing object: service ${name} already exists`);
  }
  const references = [...checkReferences(view, spec), ...checkEndpoint(view, spec)];
  const id = newId(rng);
  return {
    guards: [{ type: 'service-name-free', name }, ...references],
    changes: [{ type: 'service-create', id, spec, ...(registryAuth !== undefined && { registryAuth }) }],
    result: id,
  };
}

/**
 * Puts a new spec, or the one before, in the place of a service's spec; the one that it has becomes the one before.
 *
 * @param request.version   the `meta.version` that the caller has seen
 * @param request.rollback  goes back to the spec before; `spec` has to be valid all the same, as with Docker
 * @param request.registryAuth  what the image is pulled with: as `Change` has it, or what the spec before has; a spec that
 *   is gone back to has its own
 * @returns the id of the service
 * @throws ApiaryError `not-found`, `invalid-argument`, `out-of-sequence`, `unimplemented` for a change of name or mode
 *   and for what this version does not honour, `failed-precondition` when there is no spec before
 */
export function updateService(
  view: View,
  request: { id: string; version: number; spec: ServiceSpec; rollback: boolean; registryAuth?: AskedRegistryAuth },
  nowMs: number,
): Decision<string> {
  const service = serviceOf(view, request.id);
  const spec = withNetworkIds(view, request.spec);
  // Without a name it is a renaming, and is refused as one.
  checkSpec({ ...spec, Name: filledName(spec) ?? service.spec.Name });
  checkDependencies(view, service.spec.Name ?? '', spec);
  refuseUnhonouredNetworks(view, spec);
  const references = [...checkReferences(view, spec), ...checkEndpoint(view, spec, service.id)];
  if (filledName(spec) !== service.spec.Name) {
    throw new ApiaryError('unimplemented', 'renaming services is not supported');
  }
  if (modeOf(spec) !== modeOf(service.spec)) {
    throw new ApiaryError('unimplemented', 'service mode change is not allowed');
  }
  if (service.meta.version !== request.version) throw new ApiaryError('out-of-sequence', 'update out of sequence');
  const { id, previous } = service;
  if (request.rollback && previous === undefined) {
    throw new ApiaryError('failed-precondition', `service ${id} does not have a previous spec`);
  }
  const unchanged: Guard = { type: 'unchanged', kind: 'service', id, version: request.version };
  if (!request.rollback || previous === undefined) {
    const guards = [unchanged, ...references];
    const auth = request.registryAuth && { registryAuth: registryAuthOf(view, service, request.registryAuth) };
    // An update under way starts anew: the planner says so once it finds tasks of another version.
    return { guards, changes: [{ type: 'service-spec', id, spec, previous: 'keep-as-previous', ...auth }], result: id };
  }
  const guards = [unchanged, ...checkReferences(view, previous.spec), ...checkEndpoint(view, previous.spec, id)];
  const rolled = { type: 'service-spec', id, ...previous, previous: 'keep-as-previous' } as const;
  // A job is run again as a whole.
  if (service.job !== undefined) return { guards, changes: [rolled], result: id };
  const update = { state: 'rollback_started', startedAtMs: nowMs, message: 'manually requested rollback' } as const;
  return { guards, changes: [{ ...rolled, update }], result: id };
}

/** What an image is to be pulled with from now on: this, empty for nothing, or what the spec before has. */
export type AskedRegistryAuth = { given: string } | 'previous-spec';

function registryAuthOf(view: View, { id, previous }: ServiceRecord, asked: AskedRegistryAuth): string {
  if (asked !== 'previous-spec') return asked.given;
  if (previous === undefined) {
    throw new ApiaryError('failed-precondition', `service ${id} does not have a previous spec`);
  }
  return view.spec(id, previous.specVersion).registryAuth ?? '';
}

/** @throws ApiaryError `not-found` */
export function removeService(view: View, id: string): Decision<string> {
  serviceOf(view, id);
  return {
    guards: [{ type: 'unchanged', kind: 'service', id }],
    changes: [{ type: 'service-delete', id }],
    result: id,
  };
}

function checkSpec(spec: ServiceSpec): void {
  checkWords(spec);
  checkServiceSpec(spec);
  refuseUnhonoured(spec);
}

function filledName(spec: ServiceSpec): string | undefined {
  return spec.Name === '' ? undefined : spec.Name;
}

function modeOf(spec: ServiceSpec): string {
  const [mode = 'Replicated'] = Object.entries(spec.Mode ?? {}).find(([, value]) => value !== undefined) ?? [];
  return mode;
}

function serviceOf(view: View, id: string): ServiceRecord {
  const service = view.service(id);
  if (service === undefined) throw new ApiaryError('not-found', `service ${id} not found`);
  return service;
}
