import type { Place } from './source.js';

/** What a scalar may be. Integers beyond what a double holds exactly are bigints. */
export type ScalarValue = string | number | bigint | boolean | null;

interface Base {
  place: Place;
  /** `!reset` and `!override` of the Compose Specification: what merging is to do with it. */
  mergeTag?: 'reset' | 'override';
  /** Nodes below and including this one, aliases counted as often as they are used. */
  size: number;
  /** Levels below and including this one. */
  depth: number;
}

export interface ScalarNode extends Base {
  kind: 'scalar';
  value: ScalarValue;
  /** Made by interpolation: a number or boolean may be meant. */
  interpolated?: true;
}

export interface ListNode extends Base {
  kind: 'list';
  items: readonly Node[];
}

export interface MapEntry {
  keyPlace: Place;
  node: Node;
}

export interface MapNode extends Base {
  kind: 'map';
  entries: ReadonlyMap<string, MapEntry>;
}

/** A node of a document. Nodes are never changed, so that aliases share them. */
export type Node = ScalarNode | ListNode | MapNode;

export type Plain = ScalarValue | Plain[] | { [key: string]: Plain };

export function scalar(value: ScalarValue, place: Place): ScalarNode {
  return { kind: 'scalar', value, place, size: 1, depth: 1 };
}

export function list(items: readonly Node[], place: Place): ListNode {
  const size = items.reduce((sum, item) => sum + item.size, 1);
  const depth = items.reduce((most, item) => Math.max(most, item.depth), 0) + 1;
  return { kind: 'list', items, place, size, depth };
}

export function map(entries: ReadonlyMap<string, MapEntry>, place: Place): MapNode {
  let size = 1;
  let depth = 0;
  for (const { node } of entries.values()) {
    size += node.size;
    depth = Math.max(depth, node.depth);
  }
  return { kind: 'map', entries, place, size, depth: depth + 1 };
}

/** `node` with other entries, at the same place. */
export function withEntries(node: MapNode, entries: ReadonlyMap<string, MapEntry>): MapNode {
  return { ...node, ...map(entries, node.place) };
}

/** `node` with one entry set, or taken out. */
export function withEntry(node: MapNode, key: string, value: Node | undefined): MapNode {
  const entries = new Map(node.entries);
  if (value === undefined) entries.delete(key);
  else entries.set(key, { keyPlace: entries.get(key)?.keyPlace ?? value.place, node: value });
  return withEntries(node, entries);
}

export function child(node: Node | undefined, key: string): Node | undefined {
  return node?.kind === 'map' ? node.entries.get(key)?.node : undefined;
}

export function mapChild(node: Node | undefined, key: string): MapNode | undefined {
  const found = child(node, key);
  return found?.kind === 'map' ? found : undefined;
}

/** The node as plain data. */
export function plain(node: Node): Plain {
  switch (node.kind) {
    case 'scalar':
      return node.value;
    case 'list':
      return node.items.map(plain);
    case 'map': {
      const object: { [key: string]: Plain } = Object.create(null);
      for (const [key, { node: value }] of node.entries) object[key] = plain(value);
      return object;
    }
  }
}

export type Path = readonly (string | number)[];

/** `services.web.ports[1].target`; keys that hold a dot or a bracket are quoted. */
export function pathText(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[^.[\]\s"]+$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

/** The place of what lies at a path, or of the nearest that there is above it. */
export function placeAt(root: Node, path: Path): Place {
  let node = root;
  for (const step of path) {
    const next = typeof step === 'number' ? (node.kind === 'list' ? node.items[step] : undefined) : child(node, step);
    if (next === undefined) break;
    node = next;
  }
  return node.place;
}

/** A value's text, as Go prints it: with which Docker makes strings of numbers in labels and environments. */
export function scalarText(value: ScalarValue): string {
  if (value === null) return '';
  if (typeof value !== 'number' || Number.isInteger(value)) return largeNumber(value);
  const size = Math.abs(value);
  const text = size !== 0 && size < 1e-4 ? value.toExponential() : String(value);
  return text.replace(/e([+-])(\d)$/, 'e$10$2');
}

function largeNumber(value: string | number | bigint | boolean): string {
  return typeof value === 'number' && Math.abs(value) >= 1e21 ? value.toExponential() : String(value);
}
