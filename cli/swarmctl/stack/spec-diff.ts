/** One field in which two specs differ. */
export interface FieldChange {
  /** `TaskTemplate.ContainerSpec.Env[2]`. */
  path: string;
  /** Undefined where it is not there. */
  before: unknown;
  after: unknown;
}

/** Where 0 and false say something else than nothing. */
const SAYS_SOMETHING = /(^|\.)(Replicas|Parallelism|Delay|StopGracePeriod|Init|MaxConcurrent|TotalCompletions)$/;
/** What the engine takes for what is not there. */
const DEFAULTS: Record<string, unknown> = {
  'EndpointSpec.Mode': 'vip',
  'TaskTemplate.Runtime': 'container',
  'TaskTemplate.RestartPolicy.Condition': 'any',
  'TaskTemplate.ContainerSpec.Isolation': 'default',
  'UpdateConfig.FailureAction': 'pause',
  'RollbackConfig.FailureAction': 'pause',
  'UpdateConfig.Order': 'stop-first',
  'RollbackConfig.Order': 'stop-first',
  'Mode.Replicated.Replicas': 1,
};
/** Lists whose order says nothing, by what their items are known by. */
const SETS: Record<string, (item: Record<string, unknown>) => string> = {
  Mounts: (item) => String(item['Target']),
  Ports: (item) =>
    `${item['HostIP'] ?? ''}:${item['PublishedPort'] ?? ''}:${item['TargetPort']}/${item['Protocol'] ?? 'tcp'}`,
  Networks: (item) => String(item['Target']),
  Secrets: (item) => `${item['SecretName']}>${nameIn(item['File'])}`,
  Configs: (item) => `${item['ConfigName']}>${nameIn(item['File'])}`,
  Ulimits: (item) => String(item['Name']),
};

/**
 * The fields in which two objects of the Engine API differ. What is empty, or the engine's default, counts as not there;
 * environments and sets of objects are compared by name.
 */
export function fieldChanges(before: unknown, after: unknown): FieldChange[] {
  const [old, now] = [new Map<string, unknown>(), new Map<string, unknown>()];
  flatten(before, '', old);
  flatten(after, '', now);
  return [...new Set([...old.keys(), ...now.keys()])]
    .sort()
    .filter((path) => JSON.stringify(old.get(path)) !== JSON.stringify(now.get(path)))
    .map((path) => ({ path, before: old.get(path), after: now.get(path) }));
}

function flatten(value: unknown, path: string, into: Map<string, unknown>): void {
  if (Array.isArray(value)) {
    flattenList(value, path, into);
    return;
  }
  if (isObject(value)) {
    for (const [key, item] of Object.entries(value)) flatten(item, path === '' ? key : `${path}.${key}`, into);
    return;
  }
  if (value === undefined || value === null || value === '' || value === DEFAULTS[path]) return;
  if ((value === 0 || value === false) && !SAYS_SOMETHING.test(path)) return;
  into.set(path, value);
}

function flattenList(items: readonly unknown[], path: string, into: Map<string, unknown>): void {
  const key = path.slice(path.lastIndexOf('.') + 1);
  const keyOf = SETS[key];
  for (const [i, item] of items.entries()) {
    if (key === 'Env' && typeof item === 'string') {
      const at = item.indexOf('=');
      into.set(`${path}[${at < 0 ? item : item.slice(0, at)}]`, at < 0 ? null : item.slice(at + 1));
    } else if (keyOf !== undefined && isObject(item)) flatten(item, `${path}[${keyOf(item)}]`, into);
    else if (isObject(item)) flatten(item, `${path}[${i}]`, into);
    else into.set(`${path}[${i}]`, item);
  }
}

function nameIn(file: unknown): string {
  return isObject(file) ? String(file['Name']) : '';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
