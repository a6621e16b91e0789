import type { Diagnostics } from '../document/diagnostic.js';
import {
  list,
  type MapEntry,
  type MapNode,
  map,
  type Node,
  type Path,
  type ScalarValue,
  scalar,
  scalarText,
  withEntries,
} from '../document/node.js';
import type { Place } from '../document/source.js';
import { durationNs, durationText, sizeBytes } from './quantity.js';
import { shellWords } from './shell-words.js';

/** Short forms made long, so that what comes after meets one form of each thing. Each keeps its place. */

export interface FormContext {
  diagnostics: Diagnostics;
  /** The folder that relative paths are seen from. */
  directory: string;
  /** The user's home, for `~`. */
  home: string;
}

/** Makes one form of the value of a key. */
export type Form = (node: Node, path: Path, context: FormContext) => Node | undefined;

/** `node` with a value of its own in its place; tags for merging stay. */
function replacing(node: Node, made: Node): Node {
  return node.mergeTag === undefined ? made : { ...made, mergeTag: node.mergeTag };
}

export function record(fields: Record<string, ScalarValue | Node | undefined>, place: Place): MapNode {
  const entries = new Map<string, MapEntry>();
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const node = typeof value === 'object' && value !== null ? value : scalar(value, place);
    entries.set(key, { keyPlace: place, node });
  }
  return map(entries, place);
}

/** The forms of some keys applied to a mapping; other keys stay. */
export function withForms(
  node: MapNode,
  forms: Readonly<Record<string, Form>>,
  path: Path,
  context: FormContext,
): MapNode {
  const entries = new Map<string, MapEntry>();
  for (const [key, entry] of node.entries) {
    const form = Object.hasOwn(forms, key) ? forms[key] : undefined;
    const made = form === undefined ? entry.node : form(entry.node, [...path, key], context);
    if (made !== undefined) entries.set(key, { ...entry, node: replacing(entry.node, made) });
  }
  return withEntries(node, entries);
}

/** A mapping with forms of its own keys. */
export function nested(forms: Readonly<Record<string, Form>>): Form {
  return (node, path, context) => (node.kind === 'map' ? withForms(node, forms, path, context) : node);
}

/** The same form for each item, or each entry; one that makes several of an item puts them in its place. */
export function each(form: (node: Node, path: Path, context: FormContext) => Node | Node[] | undefined): Form {
  return (node, path, context) => {
    if (node.kind === 'list') {
      const items = node.items.flatMap((item, i) => form(item, [...path, i], context) ?? []);
      return list(items, node.place);
    }
    if (node.kind === 'map') {
      const entries = new Map<string, MapEntry>();
      for (const [key, entry] of node.entries) {
        const made = form(entry.node, [...path, key], context);
        if (made !== undefined && !Array.isArray(made))
          entries.set(key, { ...entry, node: replacing(entry.node, made) });
      }
      return withEntries(node, entries);
    }
    return node;
  };
}

/** `[A=1, B]` or a mapping: a mapping of texts. What has no value is null where that says something, else empty. */
export function values(keepsNull: boolean): Form {
  const none = keepsNull ? null : '';
  return (node) => {
    if (node.kind === 'list') {
      const entries = new Map<string, MapEntry>();
      for (const item of node.items) {
        const text = textOf(item);
        const at = text.indexOf('=');
        const [key, value] = at < 0 ? [text, none] : [text.slice(0, at), text.slice(at + 1)];
        entries.set(key, { keyPlace: item.place, node: scalar(value, item.place) });
      }
      return map(entries, node.place);
    }
    return each((value) => {
      if (value.kind !== 'scalar') return value;
      return { ...value, value: value.value === null ? none : scalarText(value.value) };
    })(node, [], NO_CONTEXT);
  };
}

/** One text or a list of them: a list. */
export const texts: Form = (node) => (node.kind === 'scalar' ? list([asText(node)], node.place) : node);

/** A text, whatever it was written as. */
export const text: Form = (node) => asText(node);

/** `"8"` where a number is meant. */
export const number: Form = (node) => {
  if (node.kind !== 'scalar' || typeof node.value !== 'string' || node.value.trim() === '') return node;
  const value = Number(node.value);
  return Number.isNaN(value) ? node : { ...node, value };
};

export const duration: Form = (node, path, { diagnostics }) => {
  if (node.kind !== 'scalar' || typeof node.value !== 'string') return node;
  const ns = durationNs(node.value);
  if (ns === undefined) {
    diagnostics.error(`${JSON.stringify(node.value)} is longer than any duration can be`, path, node.place);
    return node;
  }
  return { ...node, value: durationText(ns) };
};

/** Bytes, as text: sizes go beyond what a double holds. */
export const size: Form = (node, path, { diagnostics }) => {
  if (node.kind !== 'scalar') return node;
  const written = textOf(node);
  const bytes = /^-?\d+$/.test(written) ? Number(written) : sizeBytes(written);
  if (bytes === undefined) {
    diagnostics.error(
      `${JSON.stringify(written)} is no size: write a number of bytes, or one with a unit such as 64M`,
      path,
      node.place,
    );
    return node;
  }
  return { ...node, value: String(bytes) };
};

/** A command line is split into words. Null and nothing mean the image's own. */
export const words: Form = (node, path, { diagnostics }) => {
  if (node.kind !== 'scalar' || typeof node.value !== 'string') return node;
  const split = shellWords(node.value);
  if (split === undefined) {
    diagnostics.error('a quote is opened and not closed', path, node.place);
    return node;
  }
  return list(
    split.map((word) => scalar(word, node.place)),
    node.place,
  );
};

export function textOf(node: Node | undefined): string {
  return node?.kind === 'scalar' ? scalarText(node.value) : '';
}

function asText(node: Node): Node {
  return node.kind === 'scalar' && node.value !== null ? { ...node, value: scalarText(node.value) } : node;
}

const NO_CONTEXT = {} as FormContext;
