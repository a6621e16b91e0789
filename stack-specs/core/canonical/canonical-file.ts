import type { Diagnostics } from '../document/diagnostic.js';
import { child, type MapNode, type Node, type Path, scalar, withEntry } from '../document/node.js';
import { resolvePath } from './file-path.js';
import { each, type Form, type FormContext, nested, size, textOf, values, withForms } from './forms.js';
import { SERVICE_FORMS } from './service-forms.js';

/**
 * One form of everything in a file whose shape has been checked: short forms become long ones, commands lists of words,
 * durations Go's, sizes bytes, and paths absolute.
 */
export function canonicalFile(root: MapNode, context: FormContext): MapNode {
  return withForms(root, TOP_FORMS, [], context);
}

/** `external: {name: x}` is `external: true` with a name; an external object's own name is its key. */
function externalOf(kind: string, node: Node, path: Path, { diagnostics }: FormContext): Node {
  if (node.kind !== 'map') return node;
  const external = child(node, 'external');
  const name = child(node, 'name');
  if (external === undefined) return node;
  const isExternal = external.kind === 'map' || (external.kind === 'scalar' && external.value === true);
  if (!isExternal) return withEntry(node, 'external', undefined);
  const inner = child(external, 'name');
  if (inner !== undefined && name !== undefined) {
    diagnostics.error(`${kind}.external.name and ${kind}.name are both given: only name is to be`, path, inner.place);
  }
  warnOfMaking(kind, node, path, diagnostics);
  const given = inner ?? name ?? scalar(String(path.at(-1)), external.place);
  return withEntry(withEntry(node, 'external', scalar(true, external.place)), 'name', given);
}

/** What says how to make a thing that others make: of volumes it was always refused. */
function warnOfMaking(kind: string, node: MapNode, path: Path, diagnostics: Diagnostics): void {
  for (const key of ['driver', 'driver_opts', 'labels', 'ipam', 'file', 'content', 'environment']) {
    const other = node.entries.get(key);
    if (other === undefined) continue;
    const message = `an external ${kind} is made by others: "${key}" says how to make one`;
    if (kind === 'volume') diagnostics.error(message, [...path, key], other.keyPlace);
    else diagnostics.warn(message, [...path, key], other.keyPlace);
  }
}

function top(kind: string, forms: Readonly<Record<string, Form>>): Form {
  return each((node, path, context) => {
    const made = node.kind === 'map' ? withForms(node, forms, path, context) : node;
    return externalOf(kind, made, path, context);
  });
}

const filePath: Form = (node, _path, { directory }) =>
  textOf(node) === '' ? node : { ...scalar(resolvePath(directory, textOf(node)), node.place) };

const labels = values(false);
const capacity = nested({ required_bytes: size, limit_bytes: size });

const TOP_FORMS: Readonly<Record<string, Form>> = {
  services: each((node, path, context) => (node.kind === 'map' ? withForms(node, SERVICE_FORMS, path, context) : node)),
  networks: top('network', { labels, driver_opts: labels }),
  volumes: top('volume', { labels, driver_opts: labels, 'x-cluster-spec': nested({ capacity_range: capacity }) }),
  secrets: top('secret', { labels, driver_opts: labels, file: filePath }),
  configs: top('config', { labels, file: filePath }),
};
