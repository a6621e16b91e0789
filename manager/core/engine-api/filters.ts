import { type ContentKind, TASK_STATES } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { ContentRecord, NodeRecord, ServiceRecord, TaskRecord } from '../store/records.js';
import { taskName } from '../store/task-name.js';
import type { View } from '../store/view.js';
import { findNode, findService } from './reference.js';
import { shownDesiredState } from './task.js';

/**
 * The filters of a list: for each key its values. An object passes when, for every key, one of the values matches
 * it; labels must all match.
 */
export type Filters = ReadonlyMap<string, readonly string[]>;

/**
 * Reads the `filters` of a request: JSON in Docker's current form `{"key": {"value": true}}` or in its older one
 * `{"key": ["value"]}`.
 *
 * @param known  the keys that this list has; without, any is taken
 * @throws ApiaryError `invalid-argument` for another form, or an unknown key
 */
export function parseFilters(json: string | undefined, known?: readonly string[]): Filters {
  const filters = new Map<string, readonly string[]>();
  if (json === undefined || json === '') return filters;
  for (const [key, values] of Object.entries(parseObject(json))) {
    if (known?.includes(key) === false) throw new ApiaryError('invalid-argument', `Invalid filter '${key}'`);
    filters.set(key, valuesOf(key, values));
  }
  return filters;
}

function parseObject(json: string): object {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new ApiaryError('invalid-argument', `invalid filters: not JSON: ${json}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new ApiaryError('invalid-argument', 'invalid filters: expected an object of lists, as in {"name": ["web"]}');
}

function valuesOf(key: string, values: unknown): string[] {
  if (Array.isArray(values) && values.every((value) => typeof value === 'string')) return values;
  if (typeof values === 'object' && values !== null && !Array.isArray(values)) {
    // Docker looks at the keys alone, whether true or false stands beside them.
    if (Object.values(values).every((on) => typeof on === 'boolean')) return Object.keys(values);
  }
  throw new ApiaryError('invalid-argument', `invalid filters: ${key}: expected a list of strings`);
}

export const SERVICE_FILTERS = ['name', 'id', 'label', 'mode', 'runtime'] as const;

/** `GET /services`, in the order of ids. `name` and `id` match beginnings. */
export function filterServices(view: View, filters: Filters): ServiceRecord[] {
  return view
    .services()
    .filter(
      ({ id, spec }) =>
        begins(filters, 'name', spec.Name ?? '') &&
        begins(filters, 'id', id) &&
        labelsMatch(filters, 'label', spec.Labels) &&
        among(filters, 'mode', modeOf(spec)) &&
        equals(filters, 'runtime', spec.TaskTemplate.Runtime ?? 'container'),
    );
}

export const TASK_FILTERS = [
  'name',
  'id',
  'label',
  'service',
  'node',
  'desired-state',
  '_up-to-date',
  'runtime',
] as const;

/**
 * `GET /tasks`. `label` looks at the service's labels, `name` at the beginning of `web.1.<id>`.
 *
 * @param selfId  the node that `self` stands for
 * @throws ApiaryError `not-found` when a `service` or `node` that is named does not exist
 */
export function filterTasks(view: View, filters: Filters, selfId?: string): TaskRecord[] {
  const services = filters.get('service')?.map((reference) => findService(view, reference).id);
  const nodes = filters.get('node')?.map((reference) => findNode(view, reference, selfId).id);
  for (const state of filters.get('desired-state') ?? []) {
    if (state !== '' && !TASK_STATES.some((known) => known === state.toLowerCase())) {
      throw new ApiaryError('invalid-argument', `Invalid desired-state filter: '${state}'`);
    }
  }
  const filled = withoutEmpty(filters);
  const upToDate = filters.get('_up-to-date')?.some((value) => value === 'true' || value === '1') ?? false;
  const candidates =
    services === undefined ? view.tasks() : [...new Set(services)].flatMap((id) => view.tasksOfService(id));
  return candidates.filter((task) => {
    if (nodes !== undefined && (task.nodeId === undefined || !nodes.includes(task.nodeId))) return false;
    if (!begins(filters, 'id', task.id)) return false;
    if (!equals(filled, 'desired-state', shownDesiredState(task))) return false;
    if (upToDate && !isUpToDate(task, view.service(task.serviceId))) return false;
    if (!filters.has('name') && !filters.has('label') && !filters.has('runtime')) return true;
    const spec = view.spec(task.serviceId, task.specVersion);
    return (
      begins(filters, 'name', taskName(task, spec.serviceName)) &&
      labelsMatch(filters, 'label', spec.serviceLabels) &&
      equals(filters, 'runtime', spec.template.Runtime ?? 'container')
    );
  });
}

function isUpToDate(task: TaskRecord, service: ServiceRecord | undefined): boolean {
  return service?.specVersion === task.specVersion && service.job?.iteration === task.jobIteration;
}

export const NODE_FILTERS = ['name', 'id', 'label', 'role', 'membership', 'node.label'] as const;

/**
 * `GET /nodes`. `label` looks at the engine's labels, `node.label` at the node's, `role` at what the node is and not at
 * what it is wanted as. A node that is known is accepted.
 */
export function filterNodes(view: View, filters: Filters): NodeRecord[] {
  oneOf(filters, 'role', ['worker', 'manager']);
  oneOf(filters, 'membership', ['accepted', 'pending']);
  const filled = withoutEmpty(filters);
  return view
    .nodes()
    .filter(
      ({ id, spec, role, description }) =>
        begins(filters, 'name', description?.Hostname ?? '') &&
        begins(filters, 'id', id) &&
        equals(filled, 'role', role) &&
        equals(filled, 'membership', 'accepted') &&
        labelsMatch(filters, 'label', description?.Engine.Labels) &&
        labelsMatch(filters, 'node.label', spec.Labels),
    );
}

export const CONTENT_FILTERS: Record<ContentKind, readonly string[]> = {
  secret: ['name', 'names', 'id', 'label'],
  config: ['name', 'id', 'label'],
};

/** `GET /secrets` and `GET /configs`. `name`, whatever its case, and `id` match beginnings, `names` all of a name. */
export function filterContents(view: View, kind: ContentKind, filters: Filters): ContentRecord[] {
  return view
    .contents(kind)
    .filter(
      ({ id, spec: { Name = '', Labels } }) =>
        beginsInAnyCase(filters, 'name', Name) &&
        equals(filters, 'names', Name.toLowerCase()) &&
        begins(filters, 'id', id) &&
        labelsMatch(filters, 'label', Labels),
    );
}

function modeOf({ Mode }: ServiceRecord['spec']): string {
  if (Mode?.Global !== undefined) return 'global';
  if (Mode?.GlobalJob !== undefined) return 'global-job';
  return Mode?.ReplicatedJob === undefined ? 'replicated' : 'replicated-job';
}

function begins(filters: Filters, key: string, text: string): boolean {
  const values = filters.get(key);
  return values === undefined || values.length === 0 || values.some((value) => text.startsWith(value));
}

function beginsInAnyCase(filters: Filters, key: string, text: string): boolean {
  const lowered = (filters.get(key) ?? []).map((value) => value.toLowerCase());
  return begins(new Map([[key, lowered]]), key, text.toLowerCase());
}

function among(filters: Filters, key: string, text: string): boolean {
  const values = filters.get(key);
  return values === undefined || values.length === 0 || values.includes(text);
}

function equals(filters: Filters, key: string, text: string): boolean {
  const values = filters.get(key);
  return values === undefined || values.length === 0 || values.some((value) => value.toLowerCase() === text);
}

/** Whether the labels are all there that `key` asks for: `name`, or `name=value`. */
export function labelsMatch(filters: Filters, key: string, labels: Record<string, string> = {}): boolean {
  return (filters.get(key) ?? []).every((condition) => {
    const [, name = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(condition) ?? [];
    if (!Object.hasOwn(labels, name)) return false;
    return value === undefined || value === '' || labels[name] === value;
  });
}

/** Of words that are of few, Docker takes an empty one for none at all. */
function withoutEmpty(filters: Filters): Filters {
  return new Map([...filters].map(([key, values]) => [key, values.filter((value) => value !== '')]));
}

function oneOf(filters: Filters, key: string, known: readonly string[]): void {
  for (const value of filters.get(key) ?? []) {
    if (value !== '' && !known.includes(value.toLowerCase())) {
      throw new ApiaryError('invalid-argument', `Invalid ${key} filter: '${value}'`);
    }
  }
}
