import type { ContentKind, NodeDescription, ServiceSpec, TaskStatus } from '@apiary/api/model';
import { AddressBook } from '../store/address-book.js';
import { NodeUsageSum } from '../store/node-usage.js';
import type { ContentRecord, NodeRecord, ServiceRecord, SpecVersion, TaskRecord } from '../store/records.js';
import type { View } from '../store/view.js';

export const meta = { version: 7, createdAtMs: 1_000, updatedAtMs: 1_700_000_000_120 };
export function service(id: string, spec: ServiceSpec, rest: Partial<ServiceRecord> = {}): ServiceRecord {
  return { id, meta, spec, specVersion: 1, ...rest };
}

export const STATUS: TaskStatus = { state: 'running', atMs: 1_000, message: 'started' };

export function task(id: string, rest: Partial<TaskRecord> = {}): TaskRecord {
  return {
    id,
    meta,
    serviceId: 's1',
    specVersion: 1,
    slot: 1,
    nodeId: 'n1',
    desiredState: 'running',
    status: STATUS,
    restarts: { attempts: 0, failuresInARow: 0, recentMs: [] },
    ...rest,
  };
}

export const description: NodeDescription = {
  Hostname: 'h1',
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 2e9, MemoryBytes: 1e9 },
  Engine: { EngineVersion: '20.10.24', Labels: { disk: 'ssd' }, Plugins: [] },
};

export function node(id: string, rest: Partial<NodeRecord> = {}): NodeRecord {
  const status: NodeRecord['status'] = { state: 'ready', message: '', addr: '10.0.0.1' };
  return { id, meta, spec: {}, role: 'worker', description, status, ...rest };
}

const NO_CONTENTS: Record<ContentKind, ContentRecord[]> = { secret: [], config: [] };

/** What managers have agreed on, as far as these objects show it. */
export function viewOf({
  services = [],
  tasks = [],
  nodes = [],
  contents = NO_CONTENTS,
}: {
  services?: ServiceRecord[];
  tasks?: TaskRecord[];
  nodes?: NodeRecord[];
  contents?: Record<ContentKind, ContentRecord[]>;
}): View {
  return {
    appliedIndex: 1,
    cluster: () => undefined,
    clientCertificate: () => undefined,
    clientCertificates: () => [],
    node: (id) => nodes.find((record) => record.id === id),
    events: () => [],
    nodes: () => nodes,
    service: (id) => services.find((record) => record.id === id),
    serviceByName: (name) => services.find((record) => record.spec.Name === name),
    services: () => services,
    rebalancing: () => [],
    content: (kind, id) => contents[kind].find((record) => record.id === id),
    contentByName: (kind, name) => contents[kind].find((record) => record.spec.Name === name),
    contents: (kind) => contents[kind],
    contentVersions: () => [],
    task: (id) => tasks.find((record) => record.id === id),
    tasks: () => tasks,
    network: () => undefined,
    networks: () => [],
    attachment: () => undefined,
    attachments: () => [],
    attachmentsOfNode: () => [],
    addresses: () => new AddressBook().use(''),
    tasksOfService: (id) => tasks.filter((record) => record.serviceId === id),
    tasksOfNode: (id) => tasks.filter((record) => record.nodeId === id),
    usageOfNode: () => new NodeUsageSum(),
    demand: () => ({ nanoCpus: 0, memoryBytes: 0, hostPorts: [], generic: [] }),
    pendingTasks: () => [],
    spec: (serviceId, version): SpecVersion => {
      const spec = services.find((record) => record.id === serviceId)?.spec;
      const serviceLabels = spec?.Labels ?? {};
      return { serviceId, version, serviceName: spec?.Name ?? '', serviceLabels, template: spec?.TaskTemplate ?? {} };
    },
  };
}
