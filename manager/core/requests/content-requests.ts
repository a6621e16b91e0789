import type { ContentKind, ContentVersion, SecretSpec } from '@apiary/api/model';
import { ApiaryError, newId, type Rng } from '@apiary/std';
import { usesContent } from '../store/content-pins.js';
import type { ContentRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { STACK_LABEL } from '../trust/client-access.js';
import { checkContentSpec } from './content-check.js';
import type { Decision } from './decision.js';
import { invalid } from './refusal.js';

/** A keyed digest, for `ContentRecord.hash`: what it is of cannot be told or tried without the salt. */
export type ContentDigest = (salt: string, text: string) => string;

/**
 * Makes a secret or a config.
 *
 * @param request.spec  its data as `standardBase64` gives them, here and below
 * @param rng  one for secrets
 * @returns the id of its version
 * @throws ApiaryError `invalid-argument`, `unimplemented`, `already-exists`
 */
export function createContent(
  view: View,
  request: { kind: ContentKind; spec: SecretSpec },
  { rng, digest }: { rng: Rng; digest: ContentDigest },
): Decision<string> {
  const { kind, spec } = request;
  checkContentSpec(kind, spec);
  const { Name = '' } = spec;
  if (view.contentByName(kind, Name) !== undefined) {
    throw new ApiaryError('already-exists', `${kind} ${Name} already exists`);
  }
  const salt = randomSalt(rng);
  const id = newId(rng);
  return {
    guards: [{ type: 'content-name-free', kind, name: Name }],
    changes: [{ type: 'content-create', kind, content: { id, spec, salt, hash: hashOf(spec, salt, digest) } }],
    result: id,
  };
}

/**
 * Docker's update: of the labels alone, which is all that Docker allows. `docker stack deploy` gives what it deploys again
 * the data of its file, too: to what belongs to the stack they are a new version. The client then asks for the version
 * that the name has, and pins it in the services.
 *
 * @param request.version  the `meta.version` that the caller has seen
 * @throws ApiaryError `not-found`, `invalid-argument` for another name or other data, `out-of-sequence`
 */
export function updateContent(
  view: View,
  request: { kind: ContentKind; id: string; version: number; spec: SecretSpec },
  making: { rng: Rng; digest: ContentDigest },
): Decision<string> {
  const { kind, id, version } = request;
  const content = contentOf(view, kind, id);
  const { Name = '', Data = '', Labels = {}, Templating } = request.spec;
  const isRenamed = Name !== content.spec.Name;
  const isDeployed = Data !== '' && !isRenamed && belongsToSameStack(Labels, content.spec.Labels);
  const hasOtherData = Data !== '' && Data !== content.spec.Data;
  if (isRenamed || (hasOtherData && !isDeployed)) throw invalid('only updates to Labels are allowed');
  if (content.meta.version !== version) throw new ApiaryError('out-of-sequence', 'update out of sequence');
  if (isDeployed) {
    const deployed = { Data, Labels, ...(Templating && { Templating }) };
    return putContentVersion(view, { kind, id, version: deployed }, making);
  }
  return {
    guards: [{ type: 'unchanged', kind, id, version }],
    changes: [{ type: 'content-labels', kind, id, labels: Labels }],
    result: id,
  };
}

type StackLabels = Record<string, string>;

function belongsToSameStack(labels: StackLabels, known: StackLabels = {}): boolean {
  const stack = labels[STACK_LABEL] ?? '';
  return stack !== '' && stack === known[STACK_LABEL];
}

/**
 * Gives the name of `id` other data. Nothing happens when it has them already; when it had them once and that version
 * is still there, it has that one again. Services that follow the name are updated.
 *
 * @param request.id       of any version of the name
 * @param request.version  what is left open in it is as in the version that the name has
 * @returns the id of the version that the name then has
 * @throws ApiaryError `not-found`, `invalid-argument`, `unimplemented`
 */
export function putContentVersion(
  view: View,
  request: { kind: ContentKind; id: string; version: ContentVersion },
  { rng, digest }: { rng: Rng; digest: ContentDigest },
): Decision<string> {
  const { kind } = request;
  const { Name = '' } = contentOf(view, kind, request.id).spec;
  const [current, ...superseded] = view.contentVersions(kind, Name);
  if (current === undefined) throw notFound(kind, request.id);
  const spec = { ...current.spec, ...request.version };
  checkContentSpec(kind, spec);
  const { salt } = current;
  const hash = hashOf(spec, salt, digest);
  const guards = [{ type: 'unchanged', kind, id: current.id, version: current.meta.version } as const];
  if (hash === current.hash) {
    const labels = request.version.Labels;
    if (labels === undefined) return { guards, changes: [], result: current.id };
    return { guards, changes: [{ type: 'content-labels', kind, id: current.id, labels }], result: current.id };
  }
  const id = superseded.find((version) => version.hash === hash)?.id ?? newId(rng);
  return { guards, changes: [{ type: 'content-version', kind, content: { id, spec, salt, hash } }], result: id };
}

/**
 * Takes a name away, with all its versions.
 *
 * @param request.id  of any version of it
 * @throws ApiaryError `not-found`; `invalid-argument`, as with Docker, naming the services whose specs use it
 */
export function removeContent(view: View, request: { kind: ContentKind; id: string }): Decision<string> {
  const { kind, id } = request;
  const { Name: name = '' } = contentOf(view, kind, id).spec;
  const users = view.services().filter(({ spec }) => usesContent(spec, kind, name));
  if (users.length > 0) {
    const names = users.map(({ spec }) => spec.Name).sort();
    const services = users.length === 1 ? 'service' : 'services';
    throw invalid(`${kind} '${name}' is in use by the following ${services}: ${names.join(', ')}`);
  }
  return {
    guards: [
      { type: 'unchanged', kind, id },
      { type: 'content-unused', kind, name },
    ],
    changes: [{ type: 'content-delete', kind, name }],
    result: id,
  };
}

/** Of what tasks are given: the data, and how they are read. */
function hashOf({ Data = '', Templating }: SecretSpec, salt: string, digest: ContentDigest): string {
  return digest(salt, `${Templating?.Name ?? ''}\n${Data}`);
}

const SALT_BYTES = 16;

function randomSalt(rng: Rng): string {
  return Array.from({ length: SALT_BYTES }, () => rng.below(256).toString(16).padStart(2, '0')).join('');
}

function contentOf(view: View, kind: ContentKind, id: string): ContentRecord {
  const content = view.content(kind, id);
  if (content === undefined) throw notFound(kind, id);
  return content;
}

function notFound(kind: ContentKind, id: string): ApiaryError {
  return new ApiaryError('not-found', `${kind} ${id} not found`);
}
