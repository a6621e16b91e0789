import {
  type ContentKind,
  type ContentReference,
  contentReferences,
  normalPath,
  type ServiceSpec,
  targetPath,
} from '@apiary/api/model';
import type { Guard } from '../store/change.js';
import type { ContentRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { invalid, quoted, unhonoured } from './refusal.js';

const KINDS: ContentKind[] = ['secret', 'config'];

/**
 * Checks the form of what a spec says of secrets and configs.
 *
 * @throws ApiaryError `invalid-argument` in SwarmKit's words where it has some; `unimplemented` for credential specs
 */
export function checkReferenceForm({ TaskTemplate: template }: ServiceSpec): void {
  refuseRuntimeConfigs(template);
  for (const kind of KINDS) {
    const targets = new Map<string, string>();
    for (const { id, name, file } of referencesOf(template.ContainerSpec, kind)) {
      if (id === '' || name === '') throw invalid(`malformed ${kind} reference`);
      if (file === undefined) throw invalid(`malformed ${kind} reference, no target provided`);
      const { Name: target = '' } = file;
      if (target === '') throw invalid(`malformed file ${kind} reference, invalid target file name provided`);
      const other = targets.get(target);
      if (other !== undefined) {
        throw invalid(`${kind} references '${other}' and '${name}' have a conflicting target: '${target}'`);
      }
      targets.set(target, name);
    }
  }
}

const MOST_MODE = 0o7777;
const MOST_ID = 0xffff_fffe;

/**
 * Checks what Docker lets pass and no agent could mount, or would mount in the place of something else.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function checkReferenceTargets({ TaskTemplate: template }: ServiceSpec): void {
  const { Mounts = [] } = template.ContainerSpec ?? {};
  const users = new Map(Mounts.map(({ Target = '' }) => [normalPath(Target), 'a mount']));
  for (const { kind, name, file } of contentReferences(template.ContainerSpec ?? {})) {
    const { Name: target = '', UID = '', GID = '', Mode = 0 } = file ?? {};
    const what = `${kind} ${quoted(name)}`;
    const path = targetPath(kind, target);
    if (target.includes('\0') || target.split('/').includes('..') || /(?:^|\/)\.?$/.test(target)) {
      throw invalid(
        `${what}: target ${quoted(target)} is not the path of a file: it may not have "..", and no "/" at its end`,
      );
    }
    const user = users.get(path);
    if (user !== undefined)
      throw invalid(`${what}: its target ${path} is also that of ${user}: give it another target`);
    users.set(path, what);
    checkId(what, 'UID', UID);
    checkId(what, 'GID', GID);
    if (Mode > MOST_MODE) throw invalid(`${what}: Mode ${Mode} is more than ${MOST_MODE} (0${MOST_MODE.toString(8)})`);
  }
}

/** @param id  empty for 0 */
function checkId(what: string, key: 'UID' | 'GID', id: string): void {
  if (id === '' || (/^\d{1,10}$/.test(id) && Number(id) <= MOST_ID)) return;
  throw invalid(`${what}: ${key} ${quoted(id)} is not a number from 0 to ${MOST_ID}`);
}

/** Refuses configs that are no files: credential specs, of Windows alone. */
function refuseRuntimeConfigs(template: ServiceSpec['TaskTemplate']): void {
  for (const [i, { Runtime }] of (template.ContainerSpec?.Configs ?? []).entries()) {
    if (Runtime !== undefined) throw unhonoured(`TaskTemplate.ContainerSpec.Configs[${i}].Runtime`, 'give it a File');
  }
}

/**
 * Finds what a spec says of secrets and configs.
 *
 * @returns what keeps it there until the spec lands
 * @throws ApiaryError `invalid-argument` naming those that are not there
 */
export function checkReferences(view: View, { TaskTemplate: template }: ServiceSpec): Guard[] {
  const guards: Guard[] = [];
  for (const kind of KINDS) {
    const missing: string[] = [];
    for (const reference of referencesOf(template.ContainerSpec, kind)) {
      const content = contentFor(view, reference);
      if (content === undefined) missing.push(reference.name);
      else guards.push({ type: 'unchanged', kind, id: content.id });
    }
    if (missing.length > 0) throw invalid(`${kind}${missing.length > 1 ? 's' : ''} not found: ${missing.join(', ')}`);
  }
  return guards;
}

function referencesOf(container: ServiceSpec['TaskTemplate']['ContainerSpec'], kind: ContentKind): ContentReference[] {
  return contentReferences(container ?? {}).filter((reference) => reference.kind === kind);
}

function contentFor(view: View, { kind, id, name }: ContentReference): ContentRecord | undefined {
  const content = id === undefined ? view.contentByName(kind, name) : view.content(kind, id);
  return content?.spec.Name === name ? content : undefined;
}
