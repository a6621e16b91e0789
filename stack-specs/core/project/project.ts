import { canonicalFile } from '../canonical/canonical-file.js';
import { folderOf, resolvePath } from '../canonical/file-path.js';
import { textOf } from '../canonical/forms.js';
import { Diagnostics } from '../document/diagnostic.js';
import {
  child,
  list,
  type MapEntry,
  type MapNode,
  map,
  mapChild,
  type Node,
  type Path,
  plain,
  withEntries,
  withEntry,
} from '../document/node.js';
import { readYaml } from '../document/read-yaml.js';
import type { Place, Source } from '../document/source.js';
import { interpolate } from '../interpolation/interpolate.js';
import type { Lookup } from '../interpolation/template.js';
import { STACK_SCHEMA } from '../schema/stack-schema.js';
import { validate } from '../schema/validate.js';
import { readDotEnv } from './env-file.js';
import { withEnvFiles } from './environment.js';
import type { FileRead, ProjectInputs } from './inputs.js';
import { mergeFiles, mergeService } from './merge.js';
import { type Profiled, withProfiles } from './profiles.js';

/** More files than anybody includes; a chain of them longer than this is a circle that changes its name. */
const MAX_FILES = 1000;

export interface Project {
  /** In one form, merged; undefined when there are errors. */
  root: MapNode | undefined;
  leftOut: Profiled['leftOut'];
  diagnostics: Diagnostics;
}

/**
 * Reads a project: every file with what it includes and extends, variables replaced, checked, merged, and left with the
 * services whose profile is wanted.
 */
export function readProject(inputs: ProjectInputs): Project {
  const diagnostics = new Diagnostics();
  const reader = new ProjectReader(inputs, diagnostics);
  let root: MapNode | undefined;
  for (const { shownPath, path, read } of inputs.files) {
    const file = reader.readFile(shownPath, path, read, inputs.directory, inputs.lookup);
    if (file !== undefined) root = root === undefined ? file : mergeFiles(root, file, diagnostics);
  }
  reader.warnOfUnset();
  if (root === undefined || diagnostics.hasErrors) return { root: undefined, leftOut: [], diagnostics };
  const { root: wanted, leftOut } = withProfiles(withoutTags(root), inputs.profiles, diagnostics);
  return { root: diagnostics.hasErrors ? undefined : wanted, leftOut, diagnostics };
}

class ProjectReader {
  readonly #unset = new Set<string>();
  /** Files that others extend, as they were read. */
  readonly #extended = new Map<string, MapNode | undefined>();
  #filesRead = 0;

  constructor(
    readonly inputs: ProjectInputs,
    readonly diagnostics: Diagnostics,
  ) {}

  warnOfUnset(): void {
    for (const name of [...this.#unset].sort()) {
      this.diagnostics.warn(`the variable ${name} is not set: it stands for an empty text`, []);
    }
  }

  /** One file with all that it includes, and services that extend others made whole. */
  readFile(
    shownPath: string,
    path: string | undefined,
    read: FileRead,
    directory: string,
    lookup: Lookup,
    including: readonly string[] = [],
  ): MapNode | undefined {
    const file = this.#canonical(shownPath, read, directory, lookup);
    if (file === undefined) return undefined;
    const whole = this.#withExtends(file, path ?? '-', directory, lookup);
    return this.#withIncludes(whole, path ?? '-', directory, lookup, including);
  }

  #canonical(shownPath: string, read: FileRead, directory: string, lookup: Lookup): MapNode | undefined {
    if ('error' in read) {
      this.diagnostics.error(`${shownPath}: ${read.error}`, []);
      return undefined;
    }
    if (++this.#filesRead > MAX_FILES) {
      this.diagnostics.error(`more than ${MAX_FILES} files are included`, []);
      return undefined;
    }
    const source: Source = { path: shownPath, text: read.text.replace(/^\ufeff/, '') };
    const tree = readYaml(source, this.diagnostics);
    if (tree === undefined) return undefined;
    if (tree.kind !== 'map') {
      const place: Place = { source, start: 0, end: 1 };
      this.diagnostics.error('the top-level object must be a mapping, with the key "services"', [], place);
      return undefined;
    }
    const expanded = this.inputs.interpolate ? interpolate(tree, lookup, this.diagnostics, this.#unset) : tree;
    const valid = validate(expanded, STACK_SCHEMA, this.diagnostics);
    if (valid.kind !== 'map') return undefined;
    const { home } = this.inputs;
    const file = canonicalFile(valid, { diagnostics: this.diagnostics, directory, home });
    return this.#eachService(file, (service, path) => {
      return withEnvFiles(service, path, { ...this.inputs, lookup }, this.diagnostics);
    });
  }

  #eachService(file: MapNode, change: (service: MapNode, path: Path) => MapNode): MapNode {
    const services = mapChild(file, 'services');
    if (services === undefined) return file;
    const entries = new Map<string, MapEntry>();
    for (const [name, entry] of services.entries) {
      const { node } = entry;
      entries.set(name, node.kind === 'map' ? { ...entry, node: change(node, ['services', name]) } : entry);
    }
    return withEntry(file, 'services', withEntries(services, entries));
  }

  #withExtends(file: MapNode, path: string, directory: string, lookup: Lookup): MapNode {
    return this.#eachService(file, (service, at) => {
      const name = String(at.at(-1));
      return this.#extend(file, path, name, service, directory, lookup, []);
    });
  }

  /** @param chain  `FILE#SERVICE` of those that led here */
  #extend(
    file: MapNode,
    path: string,
    name: string,
    service: MapNode,
    directory: string,
    lookup: Lookup,
    chain: readonly string[],
  ): MapNode {
    const given = child(service, 'extends');
    if (given?.kind !== 'map') return service;
    const own = withEntry(service, 'extends', undefined);
    const at: Path = ['services', name, 'extends'];
    const key = `${path}#${name}`;
    if (chain.includes(key)) {
      const circle = [...chain.slice(chain.indexOf(key)), key].map((one) => one.slice(one.lastIndexOf('#') + 1));
      this.diagnostics.error(`services extend each other in a circle: ${circle.join(' -> ')}`, at, given.place);
      return own;
    }
    const baseName = textOf(child(given, 'service'));
    const from = textOf(child(given, 'file'));
    const basePath = from === '' ? path : from;
    const baseDirectory = from === '' ? directory : folderOf(from);
    const baseFile = from === '' ? file : this.#extendedFile(from, baseDirectory, lookup, at, given.place);
    if (baseFile === undefined) return own;
    const base = mapChild(mapChild(baseFile, 'services'), baseName);
    if (base === undefined) {
      this.diagnostics.error(`there is no service "${baseName}" in ${basePath}`, at, given.place);
      return own;
    }
    const whole = this.#extend(baseFile, basePath, baseName, base, baseDirectory, lookup, [...chain, key]);
    return mergeService(whole, own, 'extends', this.diagnostics, at.slice(0, 2));
  }

  #extendedFile(path: string, directory: string, lookup: Lookup, at: Path, place: Place): MapNode | undefined {
    if (!this.#extended.has(path)) {
      const read = this.inputs.readFile(path);
      if ('error' in read) this.diagnostics.error(`${path}: ${read.error}`, at, place);
      this.#extended.set(path, 'error' in read ? undefined : this.#canonical(path, read, directory, lookup));
    }
    return this.#extended.get(path);
  }

  #withIncludes(file: MapNode, path: string, directory: string, lookup: Lookup, including: readonly string[]): MapNode {
    const given = child(file, 'include');
    if (given?.kind !== 'list') return file;
    let whole = withEntry(file, 'include', undefined);
    for (const [i, item] of given.items.entries()) {
      const at: Path = ['include', i];
      const included = this.#include(item, at, directory, lookup, [...including, path]);
      if (included !== undefined) whole = this.#join(whole, included, at, item.place);
    }
    return whole;
  }

  #include(item: Node, at: Path, directory: string, outer: Lookup, including: readonly string[]): MapNode | undefined {
    const paths = oneOrMany(item.kind === 'map' ? child(item, 'path') : item).map((path) =>
      resolvePath(directory, path),
    );
    const [first = ''] = paths;
    const circular = paths.find((path) => including.includes(path));
    if (circular !== undefined) {
      this.diagnostics.error(
        `files include each other in a circle: ${[...including, circular].join(' -> ')}`,
        at,
        item.place,
      );
      return undefined;
    }
    const ownDirectory = textOf(child(item, 'project_directory'));
    const base = ownDirectory === '' ? folderOf(first) : resolvePath(directory, ownDirectory);
    const envFiles = oneOrMany(child(item, 'env_file')).map((path) => resolvePath(directory, path));
    const lookup = this.#includedLookup(envFiles, base, outer, at, item.place);
    let merged: MapNode | undefined;
    for (const path of paths) {
      const read = this.inputs.readFile(path);
      if ('error' in read) {
        this.diagnostics.error(`${path}: ${read.error}`, at, item.place);
        continue;
      }
      const file = this.readFile(path, path, read, base, lookup, including);
      if (file !== undefined) merged = merged === undefined ? file : mergeFiles(merged, file, this.diagnostics);
    }
    return merged;
  }

  /** What an included file's own env files say counts where the environment says nothing. */
  #includedLookup(files: readonly string[], base: string, outer: Lookup, at: Path, place: Place): Lookup {
    const variables = new Map<string, string>();
    for (const path of files.length > 0 ? files : [`${base}/.env`]) {
      const read = this.inputs.readFile(path);
      if ('error' in read) {
        if (files.length > 0) this.diagnostics.error(`env file ${path}: ${read.error}`, at, place);
        continue;
      }
      const known = readDotEnv(read.text, outer);
      if ('fault' in known) {
        this.diagnostics.error(`env file ${path}, line ${known.fault.line}: ${known.fault.message}`, at, place);
        continue;
      }
      for (const [key, value] of known.variables) variables.set(key, value);
    }
    return (name) => outer(name) ?? variables.get(name);
  }

  /** What is included is there beside what the file says itself; two different things of one name are an error. */
  #join(file: MapNode, included: MapNode, at: Path, place: Place): MapNode {
    let joined = file;
    for (const section of ['services', 'networks', 'volumes', 'secrets', 'configs']) {
      const more = mapChild(included, section);
      if (more === undefined) continue;
      const own = mapChild(joined, section) ?? map(new Map(), place);
      const entries = new Map(own.entries);
      for (const [name, entry] of more.entries) {
        const before = entries.get(name);
        if (
          before !== undefined &&
          JSON.stringify(comparable(before.node)) !== JSON.stringify(comparable(entry.node))
        ) {
          this.diagnostics.error(
            `${section}.${name} is included, and is here too, in another way`,
            at,
            before.keyPlace,
          );
        }
        entries.set(name, before ?? entry);
      }
      joined = withEntry(joined, section, withEntries(own, entries));
    }
    return joined;
  }
}

function comparable(node: Node): unknown {
  return JSON.parse(JSON.stringify(plain(node), (_, value) => (typeof value === 'bigint' ? `${value}` : value)));
}

function oneOrMany(node: Node | undefined): string[] {
  if (node === undefined) return [];
  return node.kind === 'list' ? node.items.map(textOf) : [textOf(node)];
}

/** The tree without what was only for merging: keys to be reset that nothing had, and the marks of overrides. */
function withoutTags(node: MapNode): MapNode {
  return stripped(node) as MapNode;
}

function stripped(node: Node): Node {
  if (node.kind === 'scalar') return node.mergeTag === undefined ? node : ({ ...node, mergeTag: undefined } as Node);
  if (node.kind === 'list') {
    const items = node.items.filter(({ mergeTag }) => mergeTag !== 'reset').map(stripped);
    const isSame = items.length === node.items.length && items.every((item, i) => item === node.items[i]);
    return isSame && node.mergeTag === undefined ? node : list(items, node.place);
  }
  let entries: Map<string, MapEntry> | undefined;
  for (const [key, entry] of node.entries) {
    const made = entry.node.mergeTag === 'reset' ? undefined : stripped(entry.node);
    if (made === entry.node) continue;
    entries ??= new Map(node.entries);
    if (made === undefined) entries.delete(key);
    else entries.set(key, { ...entry, node: made });
  }
  return entries === undefined && node.mergeTag === undefined ? node : map(entries ?? node.entries, node.place);
}
