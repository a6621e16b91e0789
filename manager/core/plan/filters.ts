import { type EngineNeed, engineNeeds } from '@apiary/api/model';
import type { Demand } from '../store/node-usage.js';
import type { NodeRecord, SpecVersion } from '../store/records.js';
import type { View } from '../store/view.js';
import { constraintTest, parseConstraint } from './constraint.js';
import { type NodeLoad, pieces } from './node-load.js';
import { binarySize, cpus, largestFree, nodeCount } from './refusal-words.js';

/** One reason for which a node may refuse the tasks of a spec version. */
export interface Filter {
  accepts(load: NodeLoad): boolean;
  /** Why `count` nodes refused, in Docker's words. */
  explain(count: number): string;
  /** Why a node that is refused is: those with the same reason are told together. */
  reason(load: NodeLoad): string;
  /** In the reason's place, from all nodes that have it: also what is needed, and what the best of them has. */
  detail?(loads: readonly NodeLoad[]): string;
  /** Docker's words say too little: which of several things is short, and by how much. */
  isVague?: true;
}

/** The filters that matter to a spec version, in SwarmKit's order: a node is counted under the first that refuses. */
export function filtersOf(view: View, spec: SpecVersion, satisfies: (node: NodeRecord) => boolean): Filter[] {
  const placement = spec.template.Placement;
  const demand = view.demand(spec.serviceId, spec.version);
  const filters: Filter[] = [READY];
  const resources = resourceFilter(demand);
  if (resources !== undefined) filters.push(resources);
  const plugins = pluginsOf(view, spec);
  if (plugins.length > 0) {
    filters.push({
      accepts: (load) => plugins.every((plugin) => hasPlugin(load, plugin)),
      explain: (count) => `missing plugin on ${nodeCount(count)}`,
      reason: (load) => {
        const missing = plugins.filter((plugin) => !hasPlugin(load, plugin));
        return `missing plugin (need ${missing.map(({ type, name }) => `${type.toLowerCase()}/${name}`).join(', ')})`;
      },
    });
  }
  const needs = engineNeeds(spec.template.ContainerSpec ?? {});
  if (needs.length > 0) filters.push(engineFilter(needs));
  const constraints = placement?.Constraints ?? [];
  if (constraints.length > 0) filters.push(constraintFilter(constraints, satisfies));
  const platforms = placement?.Platforms ?? [];
  if (platforms.length > 0) {
    const wanted = platforms
      .map(({ OS = '', Architecture = '' }) => `${OS || '*'}/${Architecture || '*'}`)
      .join(' or ');
    filters.push({
      accepts: (load) => platforms.some((platform) => isPlatform(load, platform)),
      explain: (count) => `unsupported platform on ${nodeCount(count)}`,
      reason: () => `unsupported platform (need ${wanted})`,
    });
  }
  if (demand.hostPorts.length > 0) {
    filters.push({
      accepts: (load) => load.hasHostPorts(demand.hostPorts),
      explain: (count) => `host-mode port already in use on ${nodeCount(count)}`,
      reason: (load) => `host port ${demand.hostPorts.filter((port) => !load.hasHostPorts([port])).join(', ')} in use`,
    });
  }
  const maxReplicas = placement?.MaxReplicas ?? 0;
  if (maxReplicas > 0) {
    filters.push({
      accepts: (load) => load.tasksOf(spec.serviceId) < maxReplicas,
      explain: () => 'max replicas per node limit exceed',
      reason: () => `runs as many tasks of the service as it may (${maxReplicas})`,
    });
  }
  return filters;
}

const READY: Filter = {
  accepts: ({ node }) => node.status.state === 'ready' && (node.spec.Availability ?? 'active') === 'active',
  explain: (count) =>
    count === 1 ? '1 node not available for new tasks' : `${count} nodes not available for new tasks`,
  reason: ({ node }) => {
    if (node.status.state !== 'ready') return node.status.state;
    return node.spec.Availability === 'drain' ? 'drained' : 'paused';
  },
};

/** The first of the filters that refuses a node. */
export function refusing(filters: readonly Filter[], load: NodeLoad): Filter | undefined {
  for (const filter of filters) if (!filter.accepts(load)) return filter;
  return undefined;
}

/** Every reason for which nodes refuse, most frequent first, in Docker's words: `unsupported platform on 1 node; ...`. */
export function explainRefusals(filters: readonly Filter[], loads: Iterable<NodeLoad>): string {
  const counts = new Map(filters.map((filter) => [filter, 0]));
  for (const load of loads) {
    const filter = refusing(filters, load);
    if (filter !== undefined) counts.set(filter, (counts.get(filter) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([filter, count]) => filter.explain(count))
    .join('; ');
}

/** Something that a task takes from its node, and that there may be too little of. */
interface Need {
  name: string;
  amount: number;
  free(load: NodeLoad): number;
  text(amount: number): string;
}

function needsOf(demand: Demand): Need[] {
  const { nanoCpus, memoryBytes } = demand;
  return [
    { name: 'CPU', amount: nanoCpus, free: (load: NodeLoad) => load.freeNanoCpus, text: cpus },
    { name: 'memory', amount: memoryBytes, free: (load: NodeLoad) => load.freeMemoryBytes, text: binarySize },
    ...demand.generic.map(({ kind, count }) => ({
      name: kind,
      amount: count,
      free: (load: NodeLoad) => pieces(load.freeGeneric(kind)),
      text: String,
    })),
  ].filter(({ amount }) => amount > 0);
}

function resourceFilter(demand: Demand): Filter | undefined {
  const needs = needsOf(demand);
  if (needs.length === 0) return undefined;
  const isShort = (need: Need, load: NodeLoad): boolean => need.free(load) < need.amount;
  // Whatever is short together on a node is told together: each node is counted once.
  const reasonOf = (short: readonly Need[]): string => short.map(({ name }) => name).join(' and ');
  return {
    accepts: (load) => load.hasResources(demand),
    explain: (count) => `insufficient resources on ${nodeCount(count)}`,
    reason: (load) => reasonOf(needs.filter((need) => isShort(need, load))),
    detail: (loads) => {
      const [first] = loads;
      const short = needs.filter((need) => first !== undefined && isShort(need, first));
      const words = short.map((need) => `${need.name} (need ${need.text(need.amount)}, ${largestFree(need, loads)})`);
      return `insufficient ${words.join(' and ')}`;
    },
    isVague: true,
  };
}

function constraintFilter(expressions: readonly string[], satisfies: (node: NodeRecord) => boolean): Filter {
  const each = expressions.map((expression) => {
    const constraint = parseConstraint(expression);
    const text =
      constraint === undefined ? expression : `${constraint.key}${constraint.equal ? '==' : '!='}${constraint.value}`;
    return { text, test: constraintTest(expression) };
  });
  return {
    accepts: ({ node }) => satisfies(node),
    explain: (count) => `scheduling constraints not satisfied on ${nodeCount(count)}`,
    reason: ({ node }) => `constraint ${each.find(({ test }) => !test(node))?.text ?? ''}`,
  };
}

/** Docker's spellings of one architecture: a node says what `uname` says, an image what Go says. */
const ARCHITECTURES: Record<string, string> = {
  x86_64: 'amd64',
  aarch64: 'arm64',
  armhf: 'arm',
  armel: 'arm',
  i386: '386',
  i686: '386',
};

/** SwarmKit knows no variants of an architecture: a node that says `armv7l` takes what is made for `arm`. */
function architectureOf(name: string): string {
  const lower = name.toLowerCase();
  return ARCHITECTURES[lower] ?? (/^armv[5-7]/.test(lower) ? 'arm' : lower);
}

function isPlatform({ node }: NodeLoad, platform: { Architecture?: string; OS?: string }): boolean {
  const has = node.description?.Platform;
  const wantedOs = platform.OS ?? '';
  const wanted = architectureOf(platform.Architecture ?? '');
  if (wantedOs !== '' && wantedOs.toLowerCase() !== has?.OS.toLowerCase()) return false;
  return wanted === '' || wanted === architectureOf(has?.Architecture ?? '');
}

/** One that says nothing of its version is asked again by its agent. */
function engineFilter(needs: readonly EngineNeed[]): Filter {
  const unmet = ({ node }: NodeLoad): EngineNeed | undefined => {
    const [, major] = /^(\d+)\./.exec(node.description?.Engine.EngineVersion ?? '') ?? [];
    return needs.find(({ engineMajor }) => major !== undefined && Number(major) < engineMajor);
  };
  return {
    accepts: (load) => unmet(load) === undefined,
    explain: (count) => `engine too old on ${nodeCount(count)}`,
    reason: (load) => {
      const { what, engineMajor } = unmet(load) ?? { what: '', engineMajor: 0 };
      return `engine ${load.node.description?.Engine.EngineVersion} is too old for ${what} (need ${engineMajor}.0)`;
    },
  };
}

interface Plugin {
  type: 'Volume' | 'Network' | 'Log';
  name: string;
}

/** A node that cannot make overlay networks does not list their driver, though its engine has one of its own. */
const DRIVERS = { overlay: 'overlay', ingress: 'overlay', host: 'host', bridge: 'bridge', none: 'null' } as const;

function pluginsOf(view: View, spec: SpecVersion): Plugin[] {
  const plugins: Plugin[] = [];
  for (const mount of spec.template.ContainerSpec?.Mounts ?? []) {
    const name = mount.VolumeOptions?.DriverConfig?.Name;
    if (name) plugins.push({ type: 'Volume', name });
  }
  for (const { Target = '' } of spec.template.Networks ?? []) {
    const network = view.network(Target);
    if (network !== undefined) plugins.push({ type: 'Network', name: DRIVERS[network.kind] });
  }
  const logDriver = spec.template.LogDriver?.Name;
  if (logDriver && logDriver !== 'none') plugins.push({ type: 'Log', name: logDriver });
  return plugins;
}

/** A node that lists no plugin of the type at all says nothing about them. */
function hasPlugin({ node }: NodeLoad, plugin: Plugin): boolean {
  const ofType = (node.description?.Engine.Plugins ?? []).filter((known) => known.Type === plugin.type);
  return ofType.length === 0 || ofType.some(({ Name }) => Name === plugin.name || Name === `${plugin.name}:latest`);
}
