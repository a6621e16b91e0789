import { textOf } from '../canonical/forms.js';
import type { Diagnostics } from '../document/diagnostic.js';
import { child, type MapEntry, type MapNode, map, type Node, type Path, scalar, withEntry } from '../document/node.js';
import { lineAndColumn, type Source } from '../document/source.js';
import { readDotEnv, readRawEnv } from './env-file.js';
import type { ProjectInputs } from './inputs.js';

/**
 * A service with the variables of its env files among its environment. What is empty, or has no value, takes the one that
 * the caller's environment has; what the service itself says comes before what its files say.
 */
export function withEnvFiles(
  service: MapNode,
  path: Path,
  { lookup, readFile }: Pick<ProjectInputs, 'lookup' | 'readFile'>,
  diagnostics: Diagnostics,
): MapNode {
  const files = child(service, 'env_file');
  const own = child(service, 'environment');
  if (files === undefined && own === undefined) return service;
  const entries = new Map<string, MapEntry>();
  const set = (key: string, entry: MapEntry) => {
    const { node } = entry;
    const known = node.kind === 'scalar' && (node.value === null || node.value === '') ? lookup(key) : undefined;
    entries.set(key, known === undefined ? entry : { ...entry, node: { ...node, ...scalar(known, node.place) } });
  };
  for (const [i, file] of (files?.kind === 'list' ? files.items : []).entries()) {
    for (const [key, value] of variablesOf(file, [...path, 'env_file', i])) {
      set(key, { keyPlace: file.place, node: scalar(value, file.place) });
    }
  }
  if (own?.kind === 'map') for (const [key, entry] of own.entries) set(key, entry);
  const place = own?.place ?? files?.place ?? service.place;
  const environment: Node = { ...map(entries, place), ...(own?.mergeTag && { mergeTag: own.mergeTag }) };
  return withEntry(withEntry(service, 'env_file', undefined), 'environment', environment);

  function variablesOf(file: Node, at: Path): Iterable<[string, string]> {
    const name = textOf(child(file, 'path'));
    const required = child(file, 'required');
    const read = readFile(name);
    if ('error' in read) {
      const mayLack = required?.kind === 'scalar' && required.value === false;
      if (!mayLack) diagnostics.error(`env file ${name}: ${read.error}`, at, file.place);
      return [];
    }
    // Docker's files have always been taken as they stand; the long form came with the specification's format.
    const isRaw = child(file, 'required') === undefined && child(file, 'format') === undefined;
    const format = textOf(child(file, 'format'));
    const known = isRaw || format === 'raw' ? readRawEnv(read.text, lookup) : readDotEnv(read.text, lookup);
    if ('variables' in known) return known.variables;
    const source: Source = { path: name, text: read.text };
    const start = offsetOfLine(read.text, known.fault.line);
    const { line } = lineAndColumn(source, start);
    diagnostics.error(`invalid env file: ${known.fault.message} (line ${line})`, at, { source, start, end: start + 1 });
    return [];
  }
}

function offsetOfLine(text: string, line: number): number {
  let at = 0;
  for (let i = 1; i < line; i++) at = text.indexOf('\n', at) + 1;
  return at;
}
