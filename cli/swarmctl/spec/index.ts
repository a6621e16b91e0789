/**
 * From the flags of `service create` and `service update` to a spec, the same one that the docker command line makes of
 * them. Parsed flags, and for an update the spec that stands, come in; a spec goes out. One table (`SERVICE_OPTIONS`)
 * holds the flags, their help and what they do. Pure: files and variables are read through `Surroundings`.
 */
import type { ServiceSpec } from '@apiary/api/model';
import type { ParsedFlags } from '../command-line/index.js';
import { withTag } from './image-reference.js';
import { containerOf, type Surroundings, taskOf } from './option.js';
import { SERVICE_OPTIONS } from './service-options.js';

export { withDigest } from './image-reference.js';
export { SpecError, type Surroundings } from './option.js';
export { applyReferences, askedReferences } from './references.js';
export { imageFlag } from './service-options.js';
export { toMap } from './words.js';

export const CREATE_FLAGS = SERVICE_OPTIONS.flatMap(({ createFlags }) => createFlags);
export const UPDATE_FLAGS = SERVICE_OPTIONS.flatMap(({ updateFlags }) => updateFlags);

/**
 * The spec of a new service.
 *
 * @param args  the image, and the arguments of its command
 * @throws SpecError for flags that contradict each other
 */
export function newSpec(args: readonly string[], given: ParsedFlags, surroundings: Surroundings): ServiceSpec {
  const [image = '', ...words] = args;
  const spec: ServiceSpec = {
    Labels: {},
    TaskTemplate: {
      ContainerSpec: { Image: withTag(image), DNSConfig: {} },
      Resources: { Limits: {}, Reservations: {} },
      Placement: {},
    },
  };
  if (words.length > 0) containerOf(spec).Args = words;
  for (const option of SERVICE_OPTIONS) option.create(spec, given, surroundings);
  return spec;
}

/** The spec of a service after an update; `spec` itself is left as it is. @throws SpecError */
export function changedSpec(spec: ServiceSpec, given: ParsedFlags, surroundings: Surroundings): ServiceSpec {
  const changed = structuredClone(spec);
  for (const option of SERVICE_OPTIONS) option.update(changed, given, surroundings);
  const { Image: image } = containerOf(changed);
  if (image !== undefined) containerOf(changed).Image = withTag(image);
  taskOf(changed).ForceUpdate ??= 0;
  return changed;
}
