import * as v from 'valibot';
import type { ObjectMeta } from './engine-api.js';
import type { ContainerSpec } from './service-spec.js';

/** What a user writes of a secret or a config: the Docker Engine API's `SecretSpec` and `ConfigSpec`, verbatim. */

const opt = v.optional;
const text = v.string();
const labels = v.record(text, text);
const Driver = v.strictObject({ Name: opt(text), Options: opt(labels) });

export const ConfigSpecSchema = v.strictObject({
  Name: opt(text),
  Labels: opt(labels),
  /** Base64. */
  Data: opt(text),
  /** `golang`: the data are a template, which each task expands. */
  Templating: opt(Driver),
});
export const SecretSpecSchema = v.strictObject({ ...ConfigSpecSchema.entries, Driver: opt(Driver) });

/** Body of `POST /apiary/v1/secrets/{id}/versions`, and of the same for configs: what is left open stays as it is. */
export const ContentVersionSchema = v.strictObject({ Labels: opt(labels), Data: text, Templating: opt(Driver) });

export type SecretSpec = v.InferOutput<typeof SecretSpecSchema>;
export type ConfigSpec = v.InferOutput<typeof ConfigSpecSchema>;
export type ContentVersion = v.InferOutput<typeof ContentVersionSchema>;

/** The object of the Engine API. A secret's is never with its data. */
export interface Secret extends ObjectMeta {
  Spec: Omit<SecretSpec, 'Data'>;
}

export interface Config extends ObjectMeta {
  Spec: ConfigSpec;
}

/** Secrets and configs are one to all but who shows them, and where they are mounted. */
export type ContentKind = 'secret' | 'config';

/** Names a secret or a config in one text. Names are one whatever their case, as with Docker. */
export function contentKey(kind: ContentKind, name: string): string {
  return `${kind}/${name.toLowerCase()}`;
}

/** In the place of an id in a service's spec (`SecretID`, `ConfigID`): whichever version the name has. */
export const FOLLOWS = 'follow';

/** One entry of a container's `Secrets` or `Configs`. */
export interface ContentReference {
  kind: ContentKind;
  /** Of the version that is pinned; undefined of a name that is followed. */
  id: string | undefined;
  name: string;
  file: NonNullable<NonNullable<ContainerSpec['Secrets']>[number]['File']> | undefined;
}

/** Where in the container a secret or a config is: at an absolute target, or below the folder of its kind. */
export function targetPath(kind: ContentKind, target: string): string {
  if (target.startsWith('/')) return normalPath(target);
  return normalPath(kind === 'secret' ? `/run/secrets/${target}` : `/${target}`);
}

/** An absolute path without empty and `.` parts. `..` stays: whoever minds looks for it before. */
export function normalPath(path: string): string {
  return `/${path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')}`;
}

/** What the container's spec says of secrets and configs, in its order, secrets first. */
export function contentReferences({ Secrets = [], Configs = [] }: ContainerSpec): ContentReference[] {
  const reference = (kind: ContentKind, id = '', name = '', file?: ContentReference['file']): ContentReference => ({
    kind,
    id: id === FOLLOWS ? undefined : id,
    name,
    file,
  });
  return [
    ...Secrets.map(({ SecretID, SecretName, File }) => reference('secret', SecretID, SecretName, File)),
    ...Configs.map(({ ConfigID, ConfigName, File }) => reference('config', ConfigID, ConfigName, File)),
  ];
}
