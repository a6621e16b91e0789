import type { Diagnostics } from '../document/diagnostic.js';
import { list, type MapEntry, type MapNode, type Node, type Path, withEntries } from '../document/node.js';
import { expandTemplate, isFault, type Lookup } from './template.js';

/** The parts of a file in which variables are replaced; what else there is, extensions say for themselves. */
const INTERPOLATED = new Set(['name', 'services', 'networks', 'volumes', 'secrets', 'configs', 'include']);

/**
 * Replaces the variables in a file's values; keys stay as they are. What was replaced is marked, so that the schema may
 * take it for the number or boolean that it stands for.
 *
 * @param lookup  the environment
 * @param unset   names that were found to have no value are added here
 */
export function interpolate(root: MapNode, lookup: Lookup, diagnostics: Diagnostics, unset: Set<string>): MapNode {
  const walker = new Walker(lookup, diagnostics, unset);
  const entries = new Map<string, MapEntry>();
  for (const [key, entry] of root.entries) {
    entries.set(key, INTERPOLATED.has(key) ? { ...entry, node: walker.walk(entry.node, [key]) } : entry);
  }
  return withEntries(root, entries);
}

class Walker {
  /** An alias is expanded once, wherever it is used. */
  readonly #done = new Map<Node, Node>();

  constructor(
    readonly lookup: Lookup,
    readonly diagnostics: Diagnostics,
    readonly unset: Set<string>,
  ) {}

  walk(node: Node, path: Path): Node {
    const known = this.#done.get(node);
    if (known !== undefined) return known;
    const made = this.#make(node, path);
    this.#done.set(node, made);
    return made;
  }

  #make(node: Node, path: Path): Node {
    if (node.kind === 'scalar') return this.#scalar(node, path);
    if (node.kind === 'list') {
      const items = node.items.map((item, i) => this.walk(item, [...path, i]));
      return items.every((item, i) => item === node.items[i]) ? node : { ...node, ...list(items, node.place) };
    }
    let changed = false;
    const entries = new Map<string, MapEntry>();
    for (const [key, entry] of node.entries) {
      const made = this.walk(entry.node, [...path, key]);
      changed ||= made !== entry.node;
      entries.set(key, made === entry.node ? entry : { ...entry, node: made });
    }
    return changed ? withEntries(node, entries) : node;
  }

  #scalar(node: Node & { kind: 'scalar' }, path: Path): Node {
    if (typeof node.value !== 'string' || !node.value.includes('$')) return node;
    const result = expandTemplate(node.value, this.lookup);
    if (isFault(result)) {
      this.diagnostics.error(result.message, path, node.place);
      return node;
    }
    for (const name of result.unset) this.unset.add(name);
    return result.text === node.value ? node : { ...node, value: result.text, interpolated: true };
  }
}
