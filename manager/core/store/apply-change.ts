import { type ContentKind, contentKey, isTerminal, rankOf, type ServiceSpec } from '@apiary/api/model';
import { unreachable } from '@apiary/std';
import { changeAttachment } from './apply-attachment-change.js';
import { changeClientCertificate } from './apply-client-certificate-change.js';
import { changeCluster } from './apply-cluster-change.js';
import { changeContent } from './apply-content-change.js';
import { changeNetwork } from './apply-network-change.js';
import { changeNode } from './apply-node-change.js';
import type { Change, ChangeOf, Touched } from './change.js';
import { followedNames } from './content-pins.js';
import { created, type Landing, updated } from './landing.js';
import type { RestartHistory, ServiceRecord, SpecVersion, TaskRecord } from './records.js';
import { sameForTasks } from './spec-comparison.js';
import type { Tables } from './tables.js';

/** Makes one change, and notes in `touched` what it changed. A change of what is gone does nothing. */
export function applyChange(tables: Tables, change: Change, landing: Landing, touched: Touched): void {
  switch (change.type) {
    case 'cluster-create':
    case 'cluster-spec':
    case 'join-secrets':
    case 'join-token-create':
    case 'join-token-delete':
    case 'unlock-key':
    case 'root-rotation-start':
    case 'root-rotation-finish':
    case 'root-rotation-abort':
    case 'root-key':
    case 'leader':
      changeCluster(tables, change, landing, touched);
      return;
    case 'client-certificate-create':
    case 'client-certificate-revoke':
      changeClientCertificate(tables, change, landing);
      return;
    case 'node-create':
    case 'node-spec':
    case 'node-status':
    case 'node-description':
    case 'node-role':
    case 'node-reachability':
    case 'node-manager-addr':
    case 'node-wireguard-key':
    case 'node-data-path-addr':
    case 'node-ipv6-addresses':
    case 'node-delete':
      changeNode(tables, change, landing, touched);
      return;
    case 'service-create':
    case 'service-spec':
    case 'service-update':
    case 'service-rebalance':
    case 'service-delete':
    case 'service-endpoint':
      changeService(tables, change, landing, touched);
      return;
    case 'content-create':
    case 'content-version':
    case 'content-labels':
    case 'content-delete': {
      const renewed = changeContent(tables, change, landing, touched);
      if (renewed !== undefined) rollFollowers(tables, renewed, landing, touched);
      return;
    }
    case 'task-create':
    case 'task-desired':
    case 'task-assign':
    case 'task-status':
    case 'task-restarts':
    case 'task-move':
    case 'task-delete':
      changeTask(tables, change, landing, touched);
      return;
    case 'network-create':
    case 'network-delete':
      changeNetwork(tables, change, landing, touched);
      return;
    case 'attachment-put':
    case 'attachment-delete':
      changeAttachment(tables, change, landing, touched);
      return;
    default:
      unreachable(change);
  }
}

function changeService(
  tables: Tables,
  change: ChangeOf<
    'service-create' | 'service-spec' | 'service-update' | 'service-rebalance' | 'service-delete' | 'service-endpoint'
  >,
  landing: Landing,
  touched: Touched,
): void {
  const service = tables.services.get(change.id);
  if (change.type === 'service-create') {
    // An id is never given twice: tasks of a service that is gone still go by it.
    if (tables.specs.hasAny(change.id) || isNameTaken(tables, change.spec, change.id)) return;
    addSpecVersion(tables, change.id, 1, change.spec);
    tables.specs.putRegistryAuth(change.id, 1, change.registryAuth);
    const { id, spec } = change;
    const job = isJob(spec) && { job: { iteration: 0, startedAtMs: landing.atMs } };
    tables.putService({ id, meta: created(landing), spec, specVersion: 1, ...job });
  } else if (service === undefined) {
    return;
  } else if (change.type === 'service-delete') {
    tables.deleteService(service);
  } else if (change.type === 'service-endpoint') {
    if (!tables.addresses.isFreeFor(service.id, change.endpoint.vips)) return;
    tables.putService({ ...service, endpoint: change.endpoint });
  } else if (change.ifVersion !== undefined && ![change.ifVersion, landing.index].includes(service.meta.version)) {
    return;
  } else if (change.type === 'service-update') {
    tables.putService({ ...service, update: change.update, meta: updated(service.meta, landing) });
  } else if (change.type === 'service-rebalance') {
    const { rebalance: _, ...rest } = service;
    const { rebalance } = change;
    tables.putService({ ...rest, ...(rebalance && { rebalance }), meta: updated(service.meta, landing) });
  } else {
    if (isNameTaken(tables, change.spec, change.id)) return;
    putServiceSpec(tables, service, change, landing, touched);
  }
  touched.services.add(change.id);
}

function putServiceSpec(
  tables: Tables,
  service: ServiceRecord,
  change: ChangeOf<'service-spec'>,
  landing: Landing,
  touched: Touched,
): void {
  const specVersion = specVersionFor(tables, service, change);
  if (specVersion !== change.specVersion) putRegistryAuth(tables, service, specVersion, change.registryAuth, touched);
  putServiceWith(tables, service, change, specVersion, landing);
}

/**
 * What is pulled with goes from one version to the next, until something else is said. Tasks that run are not touched by
 * it, as with Docker; those that are still to pull have it at once.
 */
function putRegistryAuth(
  tables: Tables,
  { id, specVersion: before }: ServiceRecord,
  specVersion: number,
  given: string | undefined,
  touched: Touched,
): void {
  const registryAuth = given ?? tables.specs.get(id, before)?.registryAuth ?? '';
  if (registryAuth === (tables.specs.get(id, specVersion)?.registryAuth ?? '')) return;
  tables.specs.putRegistryAuth(id, specVersion, registryAuth === '' ? undefined : registryAuth);
  for (const task of tables.tasksOfService.list(id)) {
    if (task.specVersion === specVersion && task.nodeId !== undefined) touched.assignments.add(task.nodeId);
  }
}

function putServiceWith(
  tables: Tables,
  service: ServiceRecord,
  change: Omit<ChangeOf<'service-spec'>, 'type' | 'id'>,
  specVersion: number,
  landing: Landing,
): void {
  const { id, spec, meta, job, endpoint } = service;
  tables.putService({
    id,
    meta: updated(meta, landing),
    spec: change.spec,
    specVersion,
    ...(change.previous === 'keep-as-previous' && { previous: { spec, specVersion: service.specVersion } }),
    ...(change.update !== undefined && { update: change.update }),
    ...(endpoint !== undefined && { endpoint }),
    ...(job !== undefined && { job: { iteration: job.iteration + 1, startedAtMs: landing.atMs } }),
  });
}

function isJob({ Mode }: ServiceSpec): boolean {
  return Mode?.ReplicatedJob !== undefined || Mode?.GlobalJob !== undefined;
}

/**
 * The version that has what `spec` asks for: of those that the service has, or a new one. The one that it has is kept
 * although a name that it follows may have other contents now: whoever scales a service that was rolled back does not
 * want the new contents. A job, which runs again in any case, takes them.
 */
function specVersionFor(tables: Tables, service: ServiceRecord, change: ChangeOf<'service-spec'>): number {
  const { spec, specVersion } = change;
  if (specVersion !== undefined && tables.specs.get(service.id, specVersion) !== undefined) return specVersion;
  if (sameForTasks(service.spec, spec) && (!isJob(spec) || hasNewest(tables, service.id, service.specVersion))) {
    return service.specVersion;
  }
  return previousOrNew(tables, service, spec);
}

function previousOrNew(tables: Tables, { id, previous }: ServiceRecord, spec: ServiceSpec): number {
  if (previous !== undefined && sameForTasks(previous.spec, spec) && hasNewest(tables, id, previous.specVersion)) {
    return previous.specVersion;
  }
  const specVersion = (tables.lastSpecVersions.get(id) ?? 0) + 1;
  addSpecVersion(tables, id, specVersion, spec);
  return specVersion;
}

/** Whether the names that a spec version follows have the versions that they had when it was made. */
function hasNewest(tables: Tables, serviceId: string, version: number): boolean {
  const spec = tables.specs.get(serviceId, version);
  if (spec === undefined) return false;
  const newest = Object.entries(newestContents(tables, spec.template));
  const { contentIds = {} } = spec;
  return newest.length === Object.keys(contentIds).length && newest.every(([key, id]) => contentIds[key] === id);
}

function newestContents(tables: Tables, template: SpecVersion['template']): Record<string, string> {
  const ids: Record<string, string> = {};
  for (const { kind, name } of followedNames(template)) {
    const content = tables.contents[kind].byName(name);
    if (content !== undefined) ids[contentKey(kind, name)] = content.id;
  }
  return ids;
}

/** A name has another version: the services that follow it update to it. A job that has run does not run again for it. */
function rollFollowers(
  tables: Tables,
  { kind, name }: { kind: ContentKind; name: string },
  landing: Landing,
  touched: Touched,
): void {
  const key = contentKey(kind, name);
  for (const service of tables.services.list()) {
    const { id, spec } = service;
    if (isJob(spec) || !followedNames(spec.TaskTemplate).some((each) => contentKey(each.kind, each.name) === key)) {
      continue;
    }
    const specVersion = previousOrNew(tables, service, spec);
    putRegistryAuth(tables, service, specVersion, undefined, touched);
    putServiceWith(tables, service, { spec, previous: 'keep-as-previous' }, specVersion, landing);
    touched.services.add(id);
  }
}

/**
 * What tasks are made from never changes once a spec version is made, since agents keep it by its number: the labels in
 * it are those that the service had then.
 */
function addSpecVersion(tables: Tables, serviceId: string, version: number, spec: ServiceSpec): void {
  const { Name = '', Labels = {}, TaskTemplate, EndpointSpec } = spec;
  const specVersion: SpecVersion = {
    serviceId,
    version,
    serviceName: Name,
    serviceLabels: Labels,
    template: TaskTemplate,
    ...(EndpointSpec !== undefined && { endpoint: EndpointSpec }),
  };
  const contentIds = newestContents(tables, TaskTemplate);
  if (Object.keys(contentIds).length > 0) specVersion.contentIds = contentIds;
  tables.specs.add(specVersion);
  tables.lastSpecVersions.set(serviceId, version);
}

function isNameTaken(tables: Tables, spec: ServiceSpec, exceptId: string): boolean {
  const holder = spec.Name === undefined ? undefined : tables.serviceByName(spec.Name);
  return holder !== undefined && holder.id !== exceptId;
}

function changeTask(
  tables: Tables,
  change: ChangeOf<
    'task-create' | 'task-desired' | 'task-assign' | 'task-status' | 'task-restarts' | 'task-move' | 'task-delete'
  >,
  landing: Landing,
  touched: Touched,
): void {
  let task: TaskRecord | undefined;
  if (change.type === 'task-create') {
    task = createdTask(tables, change, landing);
    if (task === undefined) return;
    tables.putTask(task);
  } else if (change.type === 'task-delete') {
    task = tables.tasks.get(change.id);
    if (task === undefined) return;
    tables.deleteTask(task);
  } else {
    const before = tables.tasks.get(change.id);
    const fields = before === undefined ? undefined : taskFieldsOf(tables, before, change, landing);
    if (before === undefined || fields === undefined) return;
    task = { ...before, ...fields, meta: updated(before.meta, landing) };
    if (change.type === 'task-desired') delete task.startAtMs;
    tables.putTask(task);
  }
  touched.tasks.add(task.id);
  touched.taskServices.add(task.serviceId);
  if (task.nodeId !== undefined && concernsAgent(change)) touched.assignments.add(task.nodeId);
}

/** What an agent says of a task on its way is no news to it. At the end of a task it is: what the task needed may go. */
function concernsAgent(change: Change): boolean {
  return change.type !== 'task-status' || isTerminal(change.status.state);
}

/** Undefined when the service, or the spec version, went away between the planning and the landing. */
function createdTask(tables: Tables, change: ChangeOf<'task-create'>, landing: Landing): TaskRecord | undefined {
  const { task } = change;
  if (tables.tasks.get(task.id) !== undefined || tables.services.get(task.serviceId) === undefined) return undefined;
  if (tables.specs.get(task.serviceId, task.specVersion) === undefined) return undefined;
  if (!tables.addresses.isFreeFor(task.id, task.networks ?? [])) return undefined;
  const { serviceId, nodeId } = task;
  return {
    ...task,
    // Each entry brings strings of its own: of a million tasks, those of a service or a node share one.
    serviceId: tables.services.get(serviceId)?.id ?? serviceId,
    ...(nodeId !== undefined && { nodeId: tables.nodes.get(nodeId)?.id ?? nodeId }),
    ...(isFresh(task.restarts) && { restarts: FRESH }),
    meta: created(landing),
  };
}

const FRESH: RestartHistory = { attempts: 0, failuresInARow: 0, recentMs: [] };

function isFresh({ attempts, failuresInARow, recentMs }: RestartHistory): boolean {
  return attempts === 0 && failuresInARow === 0 && recentMs.length === 0;
}

/** What the change puts into the task; undefined when it would take it back, or changes nothing. */
function taskFieldsOf(
  tables: Tables,
  task: TaskRecord,
  change: ChangeOf<'task-desired' | 'task-assign' | 'task-status' | 'task-restarts' | 'task-move'>,
  landing: Landing,
): Partial<TaskRecord> | undefined {
  switch (change.type) {
    case 'task-desired': {
      if (rankOf(change.desiredState) < rankOf(task.desiredState)) return undefined;
      if (change.desiredState === task.desiredState && task.startAtMs === undefined) return undefined;
      const { desiredState, endReason } = change;
      return { desiredState, ...(endReason !== undefined && { endReason }) };
    }
    case 'task-assign': {
      if (rankOf(task.status.state) >= rankOf('assigned')) return undefined;
      if (task.nodeId !== undefined && task.nodeId !== change.nodeId) return undefined;
      const { nodeId, status, genericResources, networks } = change;
      if (!tables.addresses.isFreeFor(task.id, networks ?? [])) return undefined;
      return {
        nodeId,
        status,
        ...(genericResources !== undefined && { genericResources }),
        ...(networks !== undefined && { networks }),
      };
    }
    case 'task-status': {
      const { state } = change.status;
      if (rankOf(state) < rankOf(task.status.state)) return undefined;
      const { atMs } = landing;
      return {
        status: change.status,
        ...(state === 'running' && task.runningAtMs === undefined && { runningAtMs: atMs }),
        ...(isTerminal(state) && task.endedAtMs === undefined && { endedAtMs: atMs }),
      };
    }
    case 'task-restarts':
      return { restarts: change.restarts };
    case 'task-move':
      return task.isToMove ? undefined : { isToMove: true };
    default:
      return unreachable(change);
  }
}
