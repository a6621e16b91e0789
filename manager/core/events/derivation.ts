import { type ContentKind, isTerminal } from '@apiary/api/model';
import type { Change } from '../store/change.js';
import type { NetworkRecord, NodeRecord, ServiceRecord, TaskRecord } from '../store/records.js';
import type { Tables } from '../store/tables.js';
import { taskName } from '../store/task-name.js';
import type { EventDraft, EventType } from './cluster-event.js';

type Attributes = Record<string, string>;

/** How events of one kind of record are made. */
interface Kind<R> {
  find(tables: Tables, id: string): R | undefined;
  /** What every event of it carries. */
  identity(record: R, tables: Tables): Attributes;
  /** What an update carries besides: undefined when there is nothing to be told. */
  difference(before: R, after: R): Attributes | undefined;
}

/** Looks at a record before a change; the function that is returned, after it. */
type Observe = (tables: Tables, id: string, isDelete: boolean) => () => EventDraft[];

function observing<R extends object>(type: EventType, kind: Kind<R>): Observe {
  return (tables, id, isDelete) => {
    const before = kind.find(tables, id);
    // What its identity is made from may go with it.
    const identity = isDelete && before !== undefined ? kind.identity(before, tables) : undefined;
    return () => {
      const after = kind.find(tables, id);
      if (before === after) return [];
      if (after === undefined) {
        if (before === undefined) return [];
        return [{ type, action: 'remove', id, attributes: identity ?? kind.identity(before, tables) }];
      }
      if (before === undefined) return [{ type, action: 'create', id, attributes: kind.identity(after, tables) }];
      const difference = kind.difference(before, after);
      if (difference === undefined) return [];
      return [{ type, action: 'update', id, attributes: { ...kind.identity(after, tables), ...difference } }];
    };
  };
}

/** By what the types of a record's changes begin with: `service-create`. A new kind of record has its events by a row. */
const KINDS: Record<string, Observe> = {
  service: observing<ServiceRecord>('service', {
    find: (tables, id) => tables.services.get(id),
    identity: ({ spec }) => ({ name: spec.Name ?? '' }),
    difference: serviceDifference,
  }),
  node: observing<NodeRecord>('node', {
    find: (tables, id) => tables.nodes.get(id),
    identity: nodeIdentity,
    difference: nodeDifference,
  }),
  network: networkChange,
  task: observing<TaskRecord>('task', {
    find: (tables, id) => tables.tasks.get(id),
    identity: taskIdentity,
    difference: taskDifference,
  }),
};

const observeNetwork = observing<NetworkRecord>('network', {
  find: (tables, id) => tables.networks.get(id),
  identity: ({ spec }) => ({ name: spec.Name }),
  difference: () => ({}),
});

/** Docker tells of an update when a new network has its addresses: ours has them from the start. */
function networkChange(tables: Tables, id: string, isDelete: boolean): () => EventDraft[] {
  const happened = observeNetwork(tables, id, isDelete);
  return () =>
    happened().flatMap((event) =>
      event.action === 'create' ? [event, { ...event, action: 'update' as const }] : event,
    );
}

/**
 * Looks at what a change is about, before it is made.
 *
 * @returns what looks again, after it, and says what happened; undefined for a change that there are no events of
 */
export function observed(tables: Tables, change: Change): (() => EventDraft[]) | undefined {
  if (change.type === 'leader') return leaderChange(tables, change.nodeId);
  if ('kind' in change) return contentChange(tables, change);
  const observe = KINDS[change.type.slice(0, change.type.indexOf('-'))];
  const id = idOf(change);
  if (observe === undefined || id === undefined) return undefined;
  return observe(tables, id, change.type.endsWith('-delete'));
}

/** Of a secret or a config there is one event whatever becomes of its versions; services that follow it change with it. */
function contentChange(tables: Tables, change: Extract<Change, { kind: ContentKind }>): () => EventDraft[] {
  const type = change.kind;
  const contents = tables.contents[type];
  const spec = 'content' in change ? change.content.spec : 'id' in change ? contents.get(change.id)?.spec : undefined;
  const name = 'name' in change ? change.name : (spec?.Name ?? '');
  const before = contents.byName(name);
  const followers =
    change.type === 'content-version'
      ? tables.services.list().map(({ id }) => KINDS['service']?.(tables, id, false) ?? (() => []))
      : [];
  return () => {
    const after = contents.byName(name);
    const attributes = { name: after?.spec.Name ?? before?.spec.Name ?? name };
    const own = (action: EventDraft['action'], id: string, more: Attributes = {}): EventDraft[] => [
      { type, action, id, attributes: { ...attributes, ...more } },
    ];
    if (before === after) return [];
    if (before === undefined) return after === undefined ? [] : own('create', after.id);
    if (after === undefined) return own('remove', before.id);
    return [
      ...own('update', after.id, changed('version', before.id, after.id)),
      ...followers.flatMap((happened) => happened()),
    ];
  };
}

function idOf(change: Change): string | undefined {
  if ('id' in change) return change.id;
  if ('node' in change) return change.node.id;
  if ('task' in change) return change.task.id;
  if ('network' in change) return change.network.id;
  return undefined;
}

/** Docker's (daemon/events.go): of an image, a number of replicas and a state of the update that are not as before. */
function serviceDifference(before: ServiceRecord, after: ServiceRecord): Attributes {
  const replicas = ({ spec }: ServiceRecord) => spec.Mode?.Replicated?.Replicas;
  const state = after.update?.state;
  const [replicasBefore, replicasAfter] = [replicas(before), replicas(after)];
  return {
    ...changed('image', imageOf(before), imageOf(after)),
    ...(replicasBefore !== undefined &&
      replicasAfter !== undefined &&
      changed('replicas', String(replicasBefore), String(replicasAfter))),
    ...(state !== undefined && changed('updatestate', before.update?.state, state)),
  };
}

function imageOf({ spec }: ServiceRecord): string {
  return spec.TaskTemplate.ContainerSpec?.Image ?? '';
}

function nodeIdentity({ spec, description }: NodeRecord): Attributes {
  return { name: spec.Name || description?.Hostname || '' };
}

function nodeDifference(before: NodeRecord, after: NodeRecord): Attributes {
  const availability = ({ spec }: NodeRecord) => spec.Availability ?? 'active';
  const reachability = (node: NodeRecord) => node.reachability ?? 'unknown';
  const isManager = before.role === 'manager' && after.role === 'manager';
  return {
    ...changed('availability', availability(before), availability(after)),
    ...changed('role', before.role, after.role),
    ...changed('state', before.status.state, after.status.state),
    ...(isManager && changed('reachability', reachability(before), reachability(after))),
  };
}

/** Who led and who leads now are two nodes that changed. */
function leaderChange(tables: Tables, nodeId: string): () => EventDraft[] {
  const before = tables.cluster?.leaderId;
  const eventOf = (id: string | undefined, isLeader: boolean): EventDraft[] => {
    const node = id === undefined ? undefined : tables.nodes.get(id);
    if (node === undefined) return [];
    const attributes = { ...nodeIdentity(node), ...changed('leader', String(!isLeader), String(isLeader)) };
    return [{ type: 'node', action: 'update', id: node.id, attributes }];
  };
  return () => (before === tables.cluster?.leaderId ? [] : [...eventOf(before, false), ...eventOf(nodeId, true)]);
}

function taskIdentity(task: TaskRecord, tables: Tables): Attributes {
  const { serviceId, specVersion, slot, nodeId } = task;
  const service = tables.specs.get(serviceId, specVersion)?.serviceName ?? '';
  return {
    name: taskName(task, service),
    'service.id': serviceId,
    'service.name': service,
    ...(slot !== 0 && { slot: String(slot) }),
    ...(nodeId !== undefined && { 'node.id': nodeId }),
  };
}

/** Only what a user of tasks looks at: not each message on the way to a state. */
function taskDifference(before: TaskRecord, after: TaskRecord): Attributes | undefined {
  const { state, err, container } = after.status;
  const difference = {
    ...changed('state', before.status.state, state),
    ...changed('desiredstate', before.desiredState, after.desiredState),
  };
  if (Object.keys(difference).length === 0 && before.nodeId === after.nodeId) return undefined;
  return {
    ...difference,
    ...(err !== undefined && err !== '' && { error: err }),
    ...(isTerminal(state) && container !== undefined && { exitcode: String(container.exitCode) }),
  };
}

function changed(name: string, before: string | undefined, after: string): Attributes {
  if (before === after) return {};
  return { ...(before !== undefined && { [`${name}.old`]: before }), [`${name}.new`]: after };
}
