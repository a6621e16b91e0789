import type { Demand } from '../store/node-usage.js';
import type { SpecVersion } from '../store/records.js';
import type { Draft } from './draft.js';
import type { NodeLoad } from './node-load.js';

/** One reason for which a node may refuse the tasks of a spec version. */
export interface Filter {
  accepts(load: NodeLoad): boolean;
  /** Why `count` nodes refused, in Docker's words. */
  explain(count: number): string;
}

/** The filters that matter to a spec version, in SwarmKit's order: a node is counted under the first that refuses. */
export function filtersOf(draft: Draft, spec: SpecVersion, demand: Demand): Filter[] {
  const placement = spec.template.Placement;
  const filters: Filter[] = [READY];
  if (demand.nanoCpus > 0 || demand.memoryBytes > 0 || demand.generic.length > 0) {
    filters.push({
      accepts: (load) => load.hasResources(demand),
      explain: (count) => `insufficient resources on ${nodes(count)}`,
    });
  }
  const plugins = pluginsOf(spec);
  if (plugins.length > 0) {
    filters.push({
      accepts: (load) => plugins.every((plugin) => hasPlugin(load, plugin)),
      explain: (count) => `missing plugin on ${nodes(count)}`,
    });
  }
  if ((placement?.Constraints ?? []).length > 0) {
    filters.push({
      accepts: (load) => draft.satisfiesConstraints(load.node, spec),
      explain: (count) => `scheduling constraints not satisfied on ${nodes(count)}`,
    });
  }
  const platforms = placement?.Platforms ?? [];
  if (platforms.length > 0) {
    filters.push({
      accepts: (load) => platforms.some((platform) => isPlatform(load, platform)),
      explain: (count) => `unsupported platform on ${nodes(count)}`,
    });
  }
  if (demand.hostPorts.length > 0) {
    filters.push({
      accepts: (load) => load.hasHostPorts(demand),
      explain: (count) => `host-mode port already in use on ${nodes(count)}`,
    });
  }
  const maxReplicas = placement?.MaxReplicas ?? 0;
  if (maxReplicas > 0) {
    filters.push({
      accepts: (load) => load.tasksOf(spec.serviceId) < maxReplicas,
      explain: () => 'max replicas per node limit exceed',
    });
  }
  return filters;
}

const READY: Filter = {
  accepts: ({ node }) => node.status.state === 'ready' && (node.spec.Availability ?? 'active') === 'active',
  explain: (count) =>
    count === 1 ? '1 node not available for new tasks' : `${count} nodes not available for new tasks`,
};

/** Every reason for which nodes refuse, most frequent first: `unsupported platform on 1 node; ...`. */
export function explainRefusals(filters: readonly Filter[], loads: Iterable<NodeLoad>): string {
  const counts = new Map(filters.map((filter) => [filter, 0]));
  for (const load of loads) {
    const refusing = filters.find((filter) => !filter.accepts(load));
    if (refusing !== undefined) counts.set(refusing, (counts.get(refusing) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([filter, count]) => filter.explain(count))
    .join('; ');
}

function nodes(count: number): string {
  return count === 1 ? '1 node' : `${count} nodes`;
}

/** Docker's spellings of one architecture: a node says what `uname` says, an image what Go says. */
const ARCHITECTURES: Record<string, string> = { x86_64: 'amd64', aarch64: 'arm64', i386: '386', i686: '386' };

function isPlatform({ node }: NodeLoad, platform: { Architecture?: string; OS?: string }): boolean {
  const architectureOf = (name: string): string => ARCHITECTURES[name] ?? name;
  const has = node.description?.Platform;
  const wantedOs = platform.OS ?? '';
  const wanted = architectureOf(platform.Architecture ?? '');
  if (wantedOs !== '' && wantedOs !== has?.OS) return false;
  return wanted === '' || wanted === architectureOf(has?.Architecture ?? '');
}

interface Plugin {
  type: 'Volume' | 'Log';
  name: string;
}

function pluginsOf(spec: SpecVersion): Plugin[] {
  const plugins: Plugin[] = [];
  for (const mount of spec.template.ContainerSpec?.Mounts ?? []) {
    const name = mount.VolumeOptions?.DriverConfig?.Name;
    if (name) plugins.push({ type: 'Volume', name });
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
