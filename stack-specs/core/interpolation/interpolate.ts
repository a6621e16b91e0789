import type { Diagnostics } from '../document/diagnostic.js';
import { list, type MapEntry, type MapNode, type Node, withEntries } from '../document/node.js';
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
    entries.set(key, INTERPOLATED.has(key) ? { ...entry, node: walker.walk(entry.node, key) } : entry);
  }
  return withEntries(root, entries);
}

class Walker {
  /** An alias is expanded once, wherever it is used. */
  readonly #done = new Map<Node, Node>();
  /** To the node that is being walked. */
  readonly #path: (string | number)[] = [];

  constructor(
    readonly lookup: Lookup,
    readonly diagnostics: Diagnostics,
    readonly unset: Set<string>,
  ) {}

  /** @param step  the last of the path to the node */
  walk(node: Node, step: string | number): Node {
    if (node.kind === 'scalar' && !(typeof node.value === 'string' && node.value.includes('$'))) return node;
    const known = this.#done.get(node);
    if (known !== undefined) return known;
    this.#path.push(step);
    const made = this.#make(node);
    this.#path.pop();
    this.#done.set(node, made);
    return made;
  }

  #make(node: Node): Node {
    if (node.kind === 'scalar') return this.#scalar(node);
    if (node.kind === 'list') {
      const items = node.items.map((item, i) => this.walk(item, i));
      return items.every((item, i) => item === node.items[i]) ? node : { ...node, ...list(items, node.place) };
    }
    let entries: Map<string, MapEntry> | undefined;
    for (const [key, entry] of node.entries) {
      const made = this.walk(entry.node, key);
      if (made === entry.node) continue;
      entries ??= new Map(node.entries);
      entries.set(key, { ...entry, node: made });
    }
    return entries === undefined ? node : withEntries(node, entries);
  }

  #scalar(node: Node & { kind: 'scalar' }): Node {
    if (typeof node.value !== 'string') return node;
    const result = expandTemplate(node.value, this.lookup);
    if (isFault(result)) {
      this.diagnostics.error(result.message, [...this.#path], node.place);
      return node;
    }
    for (const name of result.unset) this.unset.add(name);
    return result.text === node.value ? node : { ...node, value: result.text, interpolated: true };
  }
}
