import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Parser,
  type Node as YamlNode,
} from 'yaml';
import type { Diagnostics } from './diagnostic.js';
import { list, type MapEntry, map, type Node, type Path, scalar, scalarText } from './node.js';
import { plainScalarValue } from './scalar-value.js';
import { lineAndColumn, type Place, type Source } from './source.js';

/** Longer than any file that a person wrote. */
export const MAX_BYTES = 4 * 1024 * 1024;
export const MAX_DEPTH = 100;
/** With every alias counted as often as it is used. */
export const MAX_NODES = 1_000_000;

/** What no YAML text may hold. */
const CONTROL = /[^\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ud800-\udfff\ue000-\ufefe\uff00-\ufffd]/;

/** More openings in a row than there may be levels: found at once, where a parser would take its time over millions. */
const HOPELESS = /(?:[[{][ \t\r\n]*){101}|^[ \t]*(?:[-?:][ \t]+){101}|(?:[&!][^\s,[\]{}]*[ \t\r\n]+){101}/m;

/**
 * Reads the first document of a YAML text.
 *
 * Time and memory are bounded: a text over 4 MiB, nesting over 100 levels and aliases that unfold into more than a
 * million nodes are refused.
 *
 * @returns undefined when it cannot be read at all; `diagnostics` say why
 */
export function readYaml(source: Source, diagnostics: Diagnostics): Node | undefined {
  const { text } = source;
  const placeOf = (start: number, end = start + 1): Place => ({ source, start, end });
  if (text.length > MAX_BYTES) {
    diagnostics.error(`the file has more than ${MAX_BYTES >> 20} MiB: no stack needs so much`, [], placeOf(0));
    return undefined;
  }
  const control = CONTROL.exec(text);
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).padStart(4, '0');
    diagnostics.error(`control character U+${code} is not allowed in YAML`, [], placeOf(control.index));
    return undefined;
  }
  const run = HOPELESS.exec(text);
  if (run !== null) {
    diagnostics.error(`nested more than ${MAX_DEPTH} levels deep`, [], placeOf(run.index));
    return undefined;
  }
  const tokens = parse(text);
  const tooDeep = firstTooDeep(tokens);
  if (tooDeep !== undefined) {
    diagnostics.error(`nested more than ${MAX_DEPTH} levels deep`, [], placeOf(tooDeep));
    return undefined;
  }
  const document = firstDocument(tokens, text.length);
  if (document === undefined) return scalar(null, placeOf(0, 0));
  for (const { message, pos } of document.errors) {
    diagnostics.error(
      `YAML: ${message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '')}`,
      [],
      placeOf(...pos),
    );
  }
  if (document.errors.length > 0) return undefined;
  const reader = new Reader(source, diagnostics);
  return reader.read(document.contents, []);
}

function parse(text: string): CST.Token[] {
  return [...new Parser().parse(text)];
}

function firstDocument(tokens: readonly CST.Token[], length: number): Document.Parsed | undefined {
  const composer = new Composer({ schema: 'failsafe', version: '1.2', uniqueKeys: false, logLevel: 'silent' });
  for (const document of composer.compose(tokens, true, length)) return document;
  return undefined;
}

/** Looks without recursion, before anything recurses. @returns the offset of the first token that lies too deep */
function firstTooDeep(tokens: readonly CST.Token[]): number | undefined {
  const pending: CST.Token[] = [...tokens];
  const depths = tokens.map(() => 0);
  const push = (token: CST.Token | null | undefined, depth: number): void => {
    // What holds nothing is as deep as what it lies in: most tokens.
    if (token === null || token === undefined || (!('items' in token) && depth <= MAX_DEPTH)) return;
    pending.push(token);
    depths.push(depth);
  };
  for (let token = pending.pop(); token !== undefined; token = pending.pop()) {
    const depth = depths.pop() ?? 0;
    if (depth > MAX_DEPTH) return token.offset;
    if (token.type === 'document') push(token.value, depth);
    if (!('items' in token)) continue;
    for (const { key, value } of token.items as CST.CollectionItem[]) {
      push(key, depth + 1);
      push(value, depth + 1);
    }
  }
  return undefined;
}

/** Makes our tree of the library's; aliases share what they name. */
class Reader {
  /** Null while it is being read. */
  readonly #anchors = new Map<string, Node | null>();
  #overflowed = false;

  constructor(
    readonly source: Source,
    readonly diagnostics: Diagnostics,
  ) {}

  read(node: YamlNode | null | undefined, path: Path, place: Place = this.#placeOf(node)): Node {
    if (isAlias(node)) return this.#alias(node.source, place, path);
    const anchor = isScalar(node) || isMap(node) || isSeq(node) ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, null);
    const made = this.#bounded(this.#own(node, path, place), path);
    if (anchor !== undefined) this.#anchors.set(anchor, made);
    return made;
  }

  #own(node: YamlNode | null | undefined, path: Path, place: Place): Node {
    const mergeTag = node?.tag === '!reset' ? 'reset' : node?.tag === '!override' ? 'override' : undefined;
    const tagged = (made: Node): Node => (mergeTag === undefined ? made : { ...made, mergeTag });
    if (isMap(node)) return tagged(this.#map(node.items, path, place));
    if (isSeq(node)) {
      const items = node.items.map((item, i) => this.read(item as YamlNode, [...path, i]));
      return tagged(list(items, place));
    }
    if (!isScalar(node)) return scalar(null, place);
    const text = String(node.value ?? '');
    const isPlain = (node.type === 'PLAIN' || node.type === undefined) && (node.tag === undefined || mergeTag);
    return tagged(scalar(isPlain ? plainScalarValue(text) : this.#taggedValue(node.tag, text, path, place), place));
  }

  #taggedValue(tag: string | undefined, text: string, path: Path, place: Place) {
    const kind = /^tag:yaml\.org,2002:(int|float|bool|null)$/.exec(tag ?? '')?.[1];
    if (kind === undefined) return text;
    const value = plainScalarValue(text);
    const is =
      value === null ? 'null' : typeof value === 'boolean' ? 'bool' : Number.isInteger(value) ? 'int' : typeof value;
    const fits =
      is === kind ||
      (kind === 'float' && ['number', 'int', 'bigint'].includes(is)) ||
      (kind === 'int' && is === 'bigint');
    if (!fits) this.diagnostics.error(`YAML: ${JSON.stringify(text)} is no ${kind}`, path, place);
    return value;
  }

  #map(pairs: readonly { key: unknown; value: unknown }[], path: Path, place: Place): Node {
    const entries = new Map<string, MapEntry>();
    const merged: Node[] = [];
    let hasMergeKey = false;
    for (const { key, value } of pairs) {
      const keyNode = key as YamlNode | null;
      const keyPlace = this.#placeOf(keyNode);
      const isMerge =
        isScalar(keyNode) && keyNode.value === '<<' && keyNode.type === 'PLAIN' && keyNode.tag === undefined;
      const name = this.#keyText(keyNode, path, keyPlace);
      if (name === undefined) continue;
      const valuePlace = value === null || value === undefined ? { ...keyPlace, start: keyPlace.end } : undefined;
      const node = this.read(value as YamlNode | null, [...path, name], valuePlace);
      const before = entries.get(name);
      if (before !== undefined) {
        if (this.diagnostics.isFull) continue;
        const { line } = lineAndColumn(this.source, before.keyPlace.start);
        this.diagnostics.error(
          `key ${JSON.stringify(name)} is already there on line ${line}`,
          [...path, name],
          keyPlace,
        );
        continue;
      }
      hasMergeKey ||= isMerge;
      if (isMerge) merged.push(...this.#mergeSources(node, path, keyPlace));
      // Held for a moment, so that a second merge key is seen as one too many.
      entries.set(name, { keyPlace, node });
    }
    if (hasMergeKey) entries.delete('<<');
    for (const source of merged) {
      if (source.kind !== 'map') continue;
      for (const [key, entry] of source.entries) if (!entries.has(key)) entries.set(key, entry);
    }
    return map(entries, place);
  }

  #mergeSources(node: Node, path: Path, keyPlace: Place): Node[] {
    const sources = node.kind === 'list' ? node.items : [node];
    if (sources.every(({ kind }) => kind === 'map')) return [...sources];
    this.diagnostics.error('merge key "<<" takes a mapping, or a list of mappings', path, keyPlace);
    return [];
  }

  /** Keys are text: what YAML reads as something else has to be put in quotes. */
  #keyText(node: YamlNode | null, path: Path, place: Place): string | undefined {
    const key = this.read(node, path);
    if (key.kind !== 'scalar') {
      this.diagnostics.error('a key must be text', path, place);
      return undefined;
    }
    if (typeof key.value === 'string') return key.value;
    const text = key.value === null ? 'null' : scalarText(key.value);
    this.diagnostics.error(`key ${text} must be a string: put it in quotes`, [...path, text], place);
    return undefined;
  }

  #alias(name: string, place: Place, path: Path): Node {
    const target = this.#anchors.get(name);
    if (target !== undefined && target !== null) return this.#bounded(target, path);
    const why = target === null ? `anchor "${name}" contains itself` : `no anchor "${name}" comes before its alias`;
    this.diagnostics.error(`YAML: ${why}`, path, place);
    return scalar(null, place);
  }

  /** A node that is too large is cut off, so that nobody has to walk through it. */
  #bounded(node: Node, path: Path): Node {
    if (node.size <= MAX_NODES && node.depth <= MAX_DEPTH) return node;
    if (!this.#overflowed) {
      const what =
        node.size > MAX_NODES
          ? `unfolds into more than ${MAX_NODES} values`
          : `is nested more than ${MAX_DEPTH} levels deep`;
      this.diagnostics.error(`what is here ${what}, its aliases included`, path.slice(0, 4), node.place);
    }
    this.#overflowed = true;
    return scalar(null, node.place);
  }

  #placeOf(node: YamlNode | null | undefined): Place {
    const [start, end] = node?.range ?? [0, 0];
    return { source: this.source, start, end };
  }
}
