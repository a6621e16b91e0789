import {
  type ContentKind,
  contentKey,
  contentReferences,
  type ServiceSpec,
  type TaskTemplate,
} from '@apiary/api/model';
import type { SpecVersion } from './records.js';

/** A version of a secret or a config that a task's spec points at. */
export interface ContentPin {
  kind: ContentKind;
  id: string;
}

/** The versions that tasks of a spec version have, each once; not all of them need be there. */
export function contentPins({ template, contentIds = {} }: Pick<SpecVersion, 'template' | 'contentIds'>): ContentPin[] {
  const pins = new Map<string, ContentPin>();
  for (const { kind, id: pinned, name } of contentReferences(template.ContainerSpec ?? {})) {
    const id = pinned ?? contentIds[contentKey(kind, name)];
    if (id !== undefined) pins.set(`${kind}/${id}`, { kind, id });
  }
  return [...pins.values()];
}

/** The names that a template follows, each once. */
export function followedNames(template: TaskTemplate): { kind: ContentKind; name: string }[] {
  const names = new Map<string, { kind: ContentKind; name: string }>();
  for (const { kind, id, name } of contentReferences(template.ContainerSpec ?? {})) {
    if (id === undefined) names.set(contentKey(kind, name), { kind, name });
  }
  return [...names.values()];
}

/** Whether a service's spec points at some version of the secret or config. */
export function usesContent({ TaskTemplate: template }: ServiceSpec, kind: ContentKind, name: string): boolean {
  const key = contentKey(kind, name);
  return contentReferences(template.ContainerSpec ?? {}).some((each) => contentKey(each.kind, each.name) === key);
}
