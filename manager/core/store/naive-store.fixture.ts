import { type ContentKind, contentReferences, isTerminal, rankOf, type ServiceSpec } from '@apiary/api/model';
import type { Change, Entry, Guard } from './change.js';
import type { ClusterRecord, ContentRecord, NodeRecord, ServiceRecord, SpecVersion, TaskRecord } from './records.js';
import { sameForTasks } from './spec-comparison.js';

export const CONTENT_KINDS = ['secret', 'config'] as const;

/**
 * The same rules with lists of records and nothing that has to be kept in step: each question is a scan, and a spec
 * version lives while somebody is found who points at it.
 */
export class NaiveStore {
  cluster: ClusterRecord | undefined;
  nodes: NodeRecord[] = [];
  services: ServiceRecord[] = [];
  tasks: TaskRecord[] = [];
  specs: SpecVersion[] = [];
  versionsMade: { serviceId: string; version: number }[] = [];
  excluded: { id: string; sinceMs: number }[] = [];
  contents: Record<ContentKind, ContentRecord[]> = { secret: [], config: [] };
  events: string[] = [];

  apply(index: number, { atMs, guards, changes }: Entry): Guard | undefined {
    const failed = guards.find((guard) => !this.holds(guard));
    if (failed !== undefined) return failed;
    for (const change of changes) {
      const before = [...this.nodes];
      const seen = this.seen();
      const leaderId = this.cluster?.leaderId;
      this.change(change, { version: index, createdAtMs: atMs, updatedAtMs: atMs });
      this.tell(seen, this.seen());
      if (change.type === 'leader' && this.cluster !== undefined && leaderId !== change.nodeId) {
        const known = [leaderId, change.nodeId].filter((id) => this.nodes.some((node) => node.id === id));
        this.events.push(...known.map((id) => `node update ${id}`));
      }
      this.specs = this.specs.filter(({ serviceId, version }) => this.isNeeded(serviceId, version));
      for (const kind of CONTENT_KINDS) {
        const isNeeded = ({ id }: ContentRecord) => this.specs.some((spec) => idsIn(spec, kind).includes(id));
        this.contents[kind] = this.contents[kind].filter((each) => each.supersededAtMs === undefined || isNeeded(each));
      }
      this.exclude(before, atMs);
    }
    return undefined;
  }

  /** What there are events of, by kind and id: a record that is put anew is told of, a task only when it got on. */
  seen(): Map<string, unknown> {
    const named = (kind: ContentKind) =>
      this.contents[kind]
        .filter(({ supersededAtMs }) => supersededAtMs === undefined)
        .map((each): [string, unknown] => [`${kind} ${each.spec.Name?.toLowerCase()}`, each]);
    return new Map<string, unknown>([
      ...named('secret'),
      ...named('config'),
      ...this.services.map((each): [string, unknown] => [`service ${each.id}`, each]),
      ...this.nodes.map((each): [string, unknown] => [`node ${each.id}`, each]),
      ...this.tasks.map(({ id, status, desiredState, nodeId }): [string, unknown] => [
        `task ${id}`,
        JSON.stringify([status.state, desiredState, nodeId]),
      ]),
    ]);
  }

  tell(before: Map<string, unknown>, after: Map<string, unknown>): void {
    const keys = new Set([...before.keys(), ...after.keys()]);
    for (const key of keys) {
      const [kind = '', name = ''] = key.split(' ');
      const content = kind === 'secret' || kind === 'config' ? (after.get(key) ?? before.get(key)) : undefined;
      const id = typeof content === 'object' && content !== null && 'id' in content ? String(content.id) : name;
      if (before.get(key) === after.get(key)) continue;
      const action = before.has(key) ? (after.has(key) ? 'update' : 'remove') : 'create';
      this.events.push(`${kind} ${action} ${id}`);
    }
  }

  /** Who was a manager, or was to be one, before and is not now may be one no more; and the other way round. */
  exclude(before: NodeRecord[], atMs: number): void {
    if (this.cluster === undefined) return;
    const isManager = ({ spec, role }: NodeRecord) => [spec.Role, role].includes('manager');
    const ids = (nodes: NodeRecord[]) => nodes.filter(isManager).map(({ id }) => id);
    const [then, now] = [ids(before), ids(this.nodes)];
    const gone = then.filter((id) => !now.includes(id));
    const isBack = now.some((id) => !then.includes(id) && this.excluded.some((each) => each.id === id));
    if (gone.length === 0 && !isBack) return;
    this.excluded = this.excluded
      .filter(({ id, sinceMs }) => !now.includes(id) && !gone.includes(id) && sinceMs > atMs - 90 * 24 * 3600e3)
      .concat(gone.map((id) => ({ id, sinceMs: atMs })));
    const excluded = Object.fromEntries(this.excluded.map(({ id, sinceMs }) => [id, sinceMs]));
    const { excluded: _, ...rest } = this.cluster;
    this.cluster = this.excluded.length === 0 ? rest : { ...rest, excluded };
  }

  holds(guard: Guard): boolean {
    if (guard.type === 'no-cluster') return this.cluster === undefined;
    if (guard.type === 'service-name-free') {
      return !this.services.some(({ id, spec }) => id !== guard.exceptId && sameName(spec.Name, guard.name));
    }
    if (guard.type === 'content-name-free') return this.currentOf(guard.kind, guard.name) === undefined;
    if (guard.type === 'content-unused') {
      return !this.services.some(({ spec }) =>
        contentReferences(spec.TaskTemplate.ContainerSpec ?? {}).some(
          ({ kind, name }) => kind === guard.kind && sameName(name, guard.name),
        ),
      );
    }
    // Networks have a model of their own: network-store.test.ts.
    if (guard.type !== 'unchanged' || guard.kind === 'network') return true;
    const all = {
      ...this.contents,
      cluster: this.cluster === undefined ? [] : [this.cluster],
      node: this.nodes,
      service: this.services,
    };
    const records: { id: string; meta: TaskRecord['meta'] }[] = all[guard.kind];
    const record = records.find(({ id }) => id === guard.id);
    return record !== undefined && (guard.version ?? record.meta.version) === record.meta.version;
  }

  isNeeded(serviceId: string, version: number): boolean {
    return (
      this.tasks.some((task) => task.serviceId === serviceId && task.specVersion === version) ||
      this.services.some(
        ({ id, specVersion, previous }) =>
          id === serviceId && (specVersion === version || previous?.specVersion === version),
      )
    );
  }

  isLate({ id, ifVersion }: { id: string; ifVersion?: number }, { version }: { version: number }): boolean {
    const now = this.services.find((service) => service.id === id)?.meta.version;
    return ifVersion !== undefined && ifVersion !== now && version !== now;
  }

  change(change: Change, created: { version: number; createdAtMs: number; updatedAtMs: number }): void {
    const put = <T extends { id: string; meta: TaskRecord['meta'] }>(list: T[], id: string, fields: Partial<T>): T[] =>
      list.map((r) => (r.id === id ? { ...r, ...fields, meta: { ...created, createdAtMs: r.meta.createdAtMs } } : r));
    const has = (list: { id: string }[], id: string) => list.some((record) => record.id === id);
    const [cluster] = this.cluster === undefined ? [] : [this.cluster];
    switch (change.type) {
      case 'cluster-create':
        this.cluster ??= { ...change.cluster, meta: created };
        return;
      case 'cluster-spec':
        if (cluster !== undefined) [this.cluster] = put([cluster], cluster.id, { spec: change.spec });
        return;
      case 'leader':
        if (cluster !== undefined) this.cluster = { ...cluster, leaderId: change.nodeId };
        return;
      case 'join-secrets':
        if (cluster !== undefined) [this.cluster] = put([cluster], cluster.id, { joinSecrets: change.joinSecrets });
        return;
      case 'node-create':
        if (!has(this.nodes, change.node.id)) {
          let gatewayIndex = 0;
          while (this.nodes.some((node) => node.gatewayIndex === gatewayIndex)) gatewayIndex++;
          this.nodes.push({ ...change.node, meta: created, gatewayIndex });
        }
        return;
      case 'node-spec': {
        const { id, spec, departure } = change;
        this.nodes = put(this.nodes, id, departure === undefined ? { spec } : { spec, departure });
        break;
      }
      case 'node-status':
        this.nodes = put(this.nodes, change.id, { status: change.status });
        for (const node of this.nodes.filter(({ id }) => id === change.id)) {
          if (change.status.state === 'down') node.downSinceMs ??= created.updatedAtMs;
        }
        break;
      case 'node-description': {
        const { description, managerAddr } = change;
        this.nodes = put(this.nodes, change.id, managerAddr ? { description, managerAddr } : { description });
        return;
      }
      case 'node-role': {
        const { id, role, managerAddr } = change;
        const node = this.nodes.find((each) => each.id === id);
        if (role === 'worker' && node?.departure?.isRemoval) {
          this.nodes = this.nodes.filter((each) => each !== node);
          return;
        }
        const since: Partial<NodeRecord> = node?.role === role ? {} : { reachabilityAtMs: created.updatedAtMs };
        this.nodes = put(this.nodes, id, { role, ...since, ...(managerAddr && { managerAddr }) });
        break;
      }
      case 'node-reachability': {
        const { id, reachability } = change;
        this.nodes = put(this.nodes, id, { reachability, reachabilityAtMs: created.updatedAtMs });
        break;
      }
      case 'node-manager-addr':
        this.nodes = put(this.nodes, change.id, { managerAddr: change.managerAddr });
        return;
      case 'node-delete':
        this.nodes = this.nodes.filter(({ id, role }) => id !== change.id || role === 'manager');
        return;
      case 'service-create': {
        if (this.specs.some((s) => s.serviceId === change.id) || this.isTaken(change.spec, change.id)) return;
        this.services.push({ id: change.id, meta: created, spec: change.spec, specVersion: 1 });
        this.makeVersion(change.id, 1, change.spec);
        this.putRegistryAuth(change.id, 1, change.registryAuth ?? '');
        return;
      }
      case 'service-spec': {
        const service = this.services.find(({ id }) => id === change.id);
        if (service === undefined || this.isTaken(change.spec, change.id) || this.isLate(change, created)) return;
        const { id, meta, spec, specVersion } = service;
        let next = change.specVersion ?? specVersion;
        const isKnown = this.specs.some((known) => known.serviceId === id && known.version === change.specVersion);
        if (!isKnown) {
          next = sameForTasks(spec, change.spec) ? specVersion : this.otherVersion(service, change.spec);
        }
        if (next !== change.specVersion) {
          this.putRegistryAuth(id, next, change.registryAuth ?? this.registryAuth(id, specVersion));
        }
        const record: ServiceRecord = { id, meta, spec: change.spec, specVersion: next };
        if (change.previous === 'keep-as-previous') record.previous = { spec, specVersion };
        if (change.update !== undefined) record.update = change.update;
        this.services = put(this.services.filter((s) => s.id !== id).concat(record), id, {});
        return;
      }
      case 'content-create':
      case 'content-version': {
        const { kind, content, type } = change;
        const all = this.contents[kind];
        const holder = this.currentOf(kind, content.spec.Name ?? '');
        if (type === 'content-create') {
          if (holder === undefined && !has(all, content.id)) all.push({ ...content, meta: created });
          return;
        }
        if (holder === undefined || holder.id === content.id) return;
        const known = all.find(({ id }) => id === content.id);
        if (known !== undefined && !sameName(known.spec.Name, content.spec.Name)) return;
        const meta = { ...created, createdAtMs: known?.meta.createdAtMs ?? created.createdAtMs };
        this.contents[kind] = [
          ...all.filter((each) => each !== holder && each !== known),
          {
            ...holder,
            meta: { ...created, createdAtMs: holder.meta.createdAtMs },
            supersededAtMs: created.updatedAtMs,
          },
          { ...content, meta },
        ];
        this.renew(kind, content.spec.Name ?? '', created);
        return;
      }
      case 'content-labels': {
        const { kind, id, labels } = change;
        const record = this.contents[kind].find((each) => each.id === id);
        if (record !== undefined) {
          this.contents[kind] = put(this.contents[kind], id, { spec: { ...record.spec, Labels: labels } });
        }
        return;
      }
      case 'content-delete':
        this.contents[change.kind] = this.contents[change.kind].filter(({ spec }) => !sameName(spec.Name, change.name));
        return;
      case 'service-update':
        if (!this.isLate(change, created)) this.services = put(this.services, change.id, { update: change.update });
        return;
      case 'service-rebalance': {
        if (this.isLate(change, created)) return;
        const { rebalance } = change;
        for (const service of this.services) if (service.id === change.id) delete service.rebalance;
        this.services = put(this.services, change.id, { ...(rebalance && { rebalance }) });
        return;
      }
      case 'service-delete':
        this.services = this.services.filter(({ id }) => id !== change.id);
        this.versionsMade = this.versionsMade.filter(({ serviceId }) => serviceId !== change.id);
        return;
      case 'task-create': {
        const { task } = change;
        const isKnown = this.specs.some((s) => s.serviceId === task.serviceId && s.version === task.specVersion);
        if (has(this.tasks, task.id) || !has(this.services, task.serviceId) || !isKnown) return;
        this.tasks.push({ ...task, meta: created });
        return;
      }
      case 'task-desired': {
        const task = this.tasks.find(({ id }) => id === change.id);
        if (task === undefined || rankOf(change.desiredState) < rankOf(task.desiredState)) return;
        if (change.desiredState === task.desiredState && task.startAtMs === undefined) return;
        delete task.startAtMs;
        this.tasks = put(this.tasks, change.id, { desiredState: change.desiredState });
        if (change.endReason) this.tasks = put(this.tasks, change.id, { endReason: change.endReason });
        return;
      }
      case 'task-assign': {
        const task = this.tasks.find(({ id }) => id === change.id);
        if (task === undefined || rankOf(task.status.state) >= rankOf('assigned')) return;
        if (task.nodeId !== undefined && task.nodeId !== change.nodeId) return;
        this.tasks = put(this.tasks, change.id, { nodeId: change.nodeId, status: change.status });
        return;
      }
      case 'task-status': {
        const task = this.tasks.find(({ id }) => id === change.id);
        const { status } = change;
        if (task === undefined || rankOf(status.state) < rankOf(task.status.state)) return;
        const fields: Partial<TaskRecord> = { status };
        if (status.state === 'running') fields.runningAtMs = task.runningAtMs ?? created.updatedAtMs;
        if (isTerminal(status.state)) fields.endedAtMs = task.endedAtMs ?? created.updatedAtMs;
        this.tasks = put(this.tasks, change.id, fields);
        return;
      }
      case 'task-restarts':
        this.tasks = put(this.tasks, change.id, { restarts: change.restarts });
        return;
      case 'task-move':
        if (this.tasks.some(({ id, isToMove }) => id === change.id && isToMove === true)) return;
        this.tasks = put(this.tasks, change.id, { isToMove: true });
        return;
      case 'task-delete':
        this.tasks = this.tasks.filter(({ id }) => id !== change.id);
        return;
    }
    this.dropWhatIsOver();
  }

  /** A worker is neither reachable nor leaves the managers; a manager that is wanted does not; who is ready is not down. */
  dropWhatIsOver(): void {
    for (const node of this.nodes) {
      if (node.status.state === 'ready') delete node.downSinceMs;
      if (node.role === 'worker') {
        delete node.reachability;
        delete node.reachabilityAtMs;
      }
      if (node.role === 'worker' || node.spec.Role !== 'worker') delete node.departure;
    }
  }

  currentOf(kind: ContentKind, name: string): ContentRecord | undefined {
    return this.contents[kind].find(
      ({ spec, supersededAtMs }) => supersededAtMs === undefined && sameName(spec.Name, name),
    );
  }

  /** What each followed name has now. */
  newestOf(spec: ServiceSpec): Record<string, string> {
    const ids: Record<string, string> = {};
    for (const { kind, id, name } of contentReferences(spec.TaskTemplate.ContainerSpec ?? {})) {
      const current = this.currentOf(kind, name);
      if (id === undefined && current !== undefined) ids[`${kind}/${name.toLowerCase()}`] = current.id;
    }
    return ids;
  }

  /** The version before, when it is what making `spec` now would give; else a new one. */
  otherVersion({ id, previous }: ServiceRecord, spec: ServiceSpec): number {
    const before = this.specs.find((each) => each.serviceId === id && each.version === previous?.specVersion);
    if (previous !== undefined && before !== undefined && sameForTasks(previous.spec, spec)) {
      if (JSON.stringify(before.contentIds ?? {}) === JSON.stringify(this.newestOf(spec))) return before.version;
    }
    const made = this.versionsMade.filter(({ serviceId }) => serviceId === id).map(({ version }) => version);
    this.makeVersion(id, Math.max(...made) + 1, spec);
    return Math.max(...made) + 1;
  }

  renew(kind: ContentKind, name: string, landing: ServiceRecord['meta']): void {
    for (const service of byId(this.services)) {
      const { id, meta, spec, specVersion } = service;
      const references = contentReferences(spec.TaskTemplate.ContainerSpec ?? {});
      const isFollower = references.some(
        (each) => each.kind === kind && each.id === undefined && sameName(each.name, name),
      );
      if (!isFollower) continue;
      this.services = this.services.filter((each) => each !== service);
      const next = this.otherVersion(service, spec);
      this.putRegistryAuth(id, next, this.registryAuth(id, specVersion));
      this.services.push({
        id,
        meta: { ...landing, createdAtMs: meta.createdAtMs },
        spec,
        specVersion: next,
        previous: { spec, specVersion },
      });
    }
  }

  isTaken(spec: ServiceSpec, exceptId: string): boolean {
    return this.services.some((other) => other.id !== exceptId && sameName(other.spec.Name, spec.Name));
  }

  registryAuth(serviceId: string, version: number): string {
    const spec = this.specs.find((each) => each.serviceId === serviceId && each.version === version);
    return spec?.registryAuth ?? '';
  }

  putRegistryAuth(serviceId: string, version: number, registryAuth: string): void {
    this.specs = this.specs.map((each) => {
      if (each.serviceId !== serviceId || each.version !== version) return each;
      const { registryAuth: _, ...spec } = each;
      return registryAuth === '' ? spec : { ...spec, registryAuth };
    });
  }

  makeVersion(serviceId: string, version: number, spec: ServiceSpec): void {
    this.versionsMade.push({ serviceId, version });
    const { Name = '', Labels = {}, TaskTemplate, EndpointSpec } = spec;
    const made: SpecVersion = {
      serviceId,
      version,
      serviceName: Name,
      serviceLabels: Labels,
      template: TaskTemplate,
    };
    if (EndpointSpec !== undefined) made.endpoint = EndpointSpec;
    const contentIds = this.newestOf(spec);
    if (Object.keys(contentIds).length > 0) made.contentIds = contentIds;
    this.specs.push(made);
  }
}

export function sameName(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && a.toLowerCase() === b.toLowerCase();
}

/** The versions of secrets or of configs that tasks of a spec version have. */
function idsIn({ template, contentIds = {} }: SpecVersion, kind: ContentKind): string[] {
  return contentReferences(template.ContainerSpec ?? {})
    .filter((reference) => reference.kind === kind)
    .flatMap(({ id, name }) => id ?? contentIds[`${kind}/${name.toLowerCase()}`] ?? []);
}

export const byId = <T extends { id: string }>(records: T[]): T[] =>
  [...records].sort((a, b) => (a.id < b.id ? -1 : 1));
