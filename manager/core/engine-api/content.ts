import type { Config, ContentKind, Secret } from '@apiary/api/model';
import type { ContentRecord } from '../store/records.js';
import { filled, metaOf } from './timestamp.js';

/** A secret as the Engine API shows it: without its data, to whomever. */
export function secretObject(record: ContentRecord): Secret {
  const { Name, Labels = {}, Templating } = record.spec;
  return { ...metaOf(record), Spec: { Name, Labels, Templating: templatingObject(Templating) } };
}

export function configObject(record: ContentRecord): Config {
  const { Name, Labels = {}, Data, Templating } = record.spec;
  return { ...metaOf(record), Spec: { Name, Labels, Data, Templating: templatingObject(Templating) } };
}

/** @param kind  which of the two `record` is */
export function contentObject(kind: ContentKind, record: ContentRecord): Secret | Config {
  return kind === 'secret' ? secretObject(record) : configObject(record);
}

function templatingObject(templating: ContentRecord['spec']['Templating']): ContentRecord['spec']['Templating'] {
  return templating && { Name: templating.Name ?? '', Options: filled(templating.Options) };
}
