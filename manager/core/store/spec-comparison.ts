import type { ServiceSpec } from '@apiary/api/model';
import type { SpecVersion } from './records.js';

/**
 * Whether two specs of a service ask for the same tasks. What a client leaves out and what Docker's clients write in
 * its place (`""`, `0`, `{}`, a default) count as the same, so that a spec that was read from the API and is sent
 * back restarts nothing.
 */
export function sameForTasks(a: ServiceSpec, b: ServiceSpec): boolean {
  return taskPartOf(a) === taskPartOf(b);
}

/** Whether two spec versions ask for the same tasks, if perhaps on other nodes: only their constraints may differ. */
export function sameButForConstraints(a: SpecVersion, b: SpecVersion): boolean {
  return sameForTasks(withoutConstraints(a), withoutConstraints(b)) && sameContents(a, b);
}

/** Whether names that both follow had the same versions. */
function sameContents({ contentIds: a = {} }: SpecVersion, { contentIds: b = {} }: SpecVersion): boolean {
  const entries = Object.entries(a);
  return entries.length === Object.keys(b).length && entries.every(([key, id]) => b[key] === id);
}

function withoutConstraints({ template, endpoint }: SpecVersion): ServiceSpec {
  const { Constraints: _, ...Placement } = template.Placement ?? {};
  const TaskTemplate = { ...template, Placement };
  return endpoint === undefined ? { TaskTemplate } : { TaskTemplate, EndpointSpec: endpoint };
}

function taskPartOf(spec: ServiceSpec): string {
  const networks = spec.TaskTemplate.Networks ?? spec.Networks;
  return canonical({ ...spec.TaskTemplate, Networks: networks, EndpointSpec: spec.EndpointSpec }, '') ?? '';
}

/** Keys whose zero or `false` says something else than their absence. */
const SIGNIFICANT_WHEN_ZERO = new Set(['Init', 'StopGracePeriod', 'Delay']);

/** What a key means when it is absent. */
const DEFAULTS = new Map<string, unknown>([
  ['Condition', 'any'],
  ['Delay', 5_000_000_000],
  ['Isolation', 'default'],
  ['Mode', 'vip'],
  ['Propagation', 'rprivate'],
  ['Protocol', 'tcp'],
  ['PublishMode', 'ingress'],
  ['Runtime', 'container'],
  ['StopGracePeriod', 10_000_000_000],
]);

/** Keys of objects whose own keys are the user's, where an empty value is a value. */
const USER_KEYED = new Set(['Labels', 'Sysctls', 'Options', 'DriverOpts']);

/** One text for all values that mean the same; undefined for what means the same as an absent key. */
function canonical(value: unknown, key: string): string | undefined {
  if (Array.isArray(value)) {
    return value.length === 0 ? undefined : `[${value.map((item) => canonical(item, '') ?? 'null').join()}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const parts: string[] = [];
    for (const [name, item] of Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) {
      const text = USER_KEYED.has(key) ? JSON.stringify(item) : canonical(item, name);
      if (text !== undefined) parts.push(`${JSON.stringify(name)}:${text}`);
    }
    return parts.length === 0 ? undefined : `{${parts.join()}}`;
  }
  if (value === undefined || value === null || value === DEFAULTS.get(key)) return undefined;
  if ((value === 0 || value === false || value === '') && !SIGNIFICANT_WHEN_ZERO.has(key)) return undefined;
  return JSON.stringify(value);
}
