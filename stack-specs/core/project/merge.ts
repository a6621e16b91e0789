import type { Diagnostics } from '../document/diagnostic.js';
import { child, list, type MapEntry, type MapNode, type Node, type Path, withEntries } from '../document/node.js';

/**
 * How one file's values are laid over another's. `files` are Docker's rules for several `-c`: there false, 0 and empty
 * values say nothing (but for numbers that can be unset). `extends` are the specification's: what is said counts.
 */
export type MergeRules = 'files' | 'extends';

/** Lists that are one value. */
const REPLACED = /^(command|entrypoint|healthcheck\.test|networks\.[^.]+|ulimits\.[^.]+|build)$/;
/** Numbers for which 0 is a value. */
const MAY_BE_ZERO = /(^|\.)(replicas|parallelism|retries|max_attempts)$/;
/** Lists whose items are known by one of their keys. */
const KEYED: Record<string, string> = { ports: 'published', volumes: 'target', secrets: 'source', configs: 'source' };

/** A whole file over another: services are merged key by key; networks, volumes, secrets and configs are replaced. */
export function mergeFiles(base: MapNode, over: MapNode, diagnostics: Diagnostics): MapNode {
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    const before = entries.get(key);
    if (entry.node.mergeTag === 'reset') entries.delete(key);
    else if (before === undefined || entry.node.mergeTag === 'override') entries.set(key, entry);
    else if (before.node.kind === 'map' && entry.node.kind === 'map') {
      const merge = key === 'services' ? mergeServices : replaceEntries;
      entries.set(key, { ...before, node: merge(before.node, entry.node, diagnostics) });
    } else if (key === 'name') entries.set(key, entry);
  }
  return withEntries(base, entries);
}

function mergeServices(base: MapNode, over: MapNode, diagnostics: Diagnostics): MapNode {
  const entries = new Map(base.entries);
  for (const [name, entry] of over.entries) {
    const before = entries.get(name);
    if (entry.node.mergeTag === 'reset') entries.delete(name);
    else if (before?.node.kind === 'map' && entry.node.kind === 'map' && entry.node.mergeTag !== 'override') {
      const node = mergeService(before.node, entry.node, 'files', diagnostics, ['services', name]);
      entries.set(name, { keyPlace: entry.keyPlace, node });
    } else entries.set(name, entry);
  }
  return withEntries(base, entries);
}

function replaceEntries(base: MapNode, over: MapNode): MapNode {
  const entries = new Map(base.entries);
  for (const [name, entry] of over.entries) {
    if (entry.node.mergeTag === 'reset') entries.delete(name);
    else entries.set(name, entry);
  }
  return withEntries(base, entries);
}

/** One service's keys over another's. */
export function mergeService(
  base: MapNode,
  over: MapNode,
  rules: MergeRules,
  diagnostics: Diagnostics,
  path: Path,
): MapNode {
  return new ServiceMerge(rules, diagnostics, path).mergeMaps(base, over, '');
}

class ServiceMerge {
  constructor(
    readonly rules: MergeRules,
    readonly diagnostics: Diagnostics,
    readonly path: Path,
  ) {}

  mergeMaps(base: MapNode, over: MapNode, at: string): MapNode {
    const entries = new Map<string, MapEntry>(base.entries);
    for (const [key, entry] of over.entries) {
      const before = entries.get(key);
      if (entry.node.mergeTag === 'reset') entries.delete(key);
      else if (before === undefined || entry.node.mergeTag === 'override') entries.set(key, entry);
      else entries.set(key, { ...entry, node: this.#merge(before.node, entry.node, at === '' ? key : `${at}.${key}`) });
    }
    return withEntries(over, entries);
  }

  #merge(base: Node, over: Node, at: string): Node {
    if (this.#saysNothing(over, at)) return base;
    if (REPLACED.test(at)) return over;
    if (base.kind === 'map' && over.kind === 'map') {
      return at === 'logging' && !sameDriver(base, over) ? over : this.mergeMaps(base, over, at);
    }
    if (base.kind !== 'list' || over.kind !== 'list') return over;
    const key = KEYED[at];
    return key === undefined ? list([...base.items, ...over.items], over.place) : this.#mergeKeyed(base, over, key, at);
  }

  #saysNothing(over: Node, at: string): boolean {
    if (over.kind === 'list') return over.items.length === 0;
    if (over.kind === 'map') return false;
    const { value } = over;
    if (value === null) return !/^(environment|networks)\./.test(at);
    if (this.rules === 'extends' || /^(environment|labels|deploy\.labels|sysctls|logging\.options)\./.test(at))
      return false;
    return value === '' || value === false || value === '0s' || (value === 0 && !MAY_BE_ZERO.test(at));
  }

  /** Sorted by their keys, as Docker has them. */
  #mergeKeyed(base: Node & { kind: 'list' }, over: Node & { kind: 'list' }, key: string, at: string): Node {
    const byKey = new Map<string, Node>();
    for (const item of [...base.items, ...over.items]) {
      const value = keyOf(item, key);
      const before = byKey.get(value);
      if (before !== undefined && at === 'ports' && base.items.includes(item)) this.#warnOfLost(before, item);
      byKey.set(value, item);
    }
    const order = (a: string, b: string) => (at === 'ports' ? Number(a) - Number(b) : a < b ? -1 : 1);
    const sorted = [...byKey].sort(([a], [b]) => order(a, b)).map(([, item]) => item);
    return list(sorted, over.place);
  }

  #warnOfLost(lost: Node, kept: Node): void {
    const shown = (node: Node) => `${keyOf(node, 'published')}:${keyOf(node, 'target')}/${keyOf(node, 'protocol')}`;
    this.diagnostics.warn(
      `files are merged by the published port alone: ${shown(lost)} gives way to ${shown(kept)}; ` +
        'write all ports after "!override" in the later file to have both',
      [...this.path, 'ports'],
      lost.place,
    );
  }
}

function keyOf(item: Node, key: string): string {
  const node = child(item, key);
  return node?.kind === 'scalar' && node.value !== null ? String(node.value) : key === 'published' ? '0' : '';
}

function sameDriver(base: MapNode, over: MapNode): boolean {
  const [before, after] = [keyOf(base, 'driver'), keyOf(over, 'driver')];
  return before === '' || after === '' || before === after;
}
