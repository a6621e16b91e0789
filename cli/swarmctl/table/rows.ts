import type { Node, PortConfig, Service, Task, TlsInfo } from '@apiary/api/model';
import { withoutDigest } from '../spec/image-reference.js';
import { type Struct, structOf } from '../template/index.js';
import { ageMs, capitalized, compareNaturally, humanDuration, shortId, taskError } from './human.js';
import type { ListKind } from './list.js';

export const SERVICES: ListKind = {
  headings: { ID: 'ID', Name: 'NAME', Mode: 'MODE', Replicas: 'REPLICAS', Image: 'IMAGE', Ports: 'PORTS' },
  defaultTable: '{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}',
  raw: {
    all: 'id: {{.ID}}\nname: {{.Name}}\nmode: {{.Mode}}\nreplicas: {{.Replicas}}\nimage: {{.Image}}\nports: {{.Ports}}\n',
    quiet: 'id: {{.ID}}',
  },
};

export function serviceRows(services: readonly Service[]): Struct[] {
  const sorted = [...services].sort((a, b) => compareNaturally(a.Spec.Name ?? '', b.Spec.Name ?? ''));
  return sorted.map((service) =>
    structOf('*service.serviceContext', {
      ID: () => shortId(service.ID),
      Name: () => service.Spec.Name ?? '',
      Mode: () => modeOf(service),
      Replicas: () => replicasOf(service),
      Image: () => withoutDigest(service.Spec.TaskTemplate?.ContainerSpec?.Image ?? ''),
      Ports: () => portRanges(service.Endpoint?.Ports ?? []),
    }),
  );
}

function modeOf({ Spec: { Mode: mode } }: Service): string {
  if (mode?.Global !== undefined) return 'global';
  if (mode?.ReplicatedJob !== undefined) return 'replicated job';
  if (mode?.GlobalJob !== undefined) return 'global job';
  return mode?.Replicated === undefined ? '' : 'replicated';
}

function replicasOf(service: Service): string {
  const {
    RunningTasks: running = 0,
    DesiredTasks: desired = 0,
    CompletedTasks: completed = 0,
  } = service.ServiceStatus ?? {};
  const { Mode: mode, TaskTemplate: task } = service.Spec;
  const total = mode?.ReplicatedJob === undefined ? desired + completed : (mode.ReplicatedJob.TotalCompletions ?? 0);
  if (mode?.ReplicatedJob !== undefined || mode?.GlobalJob !== undefined) {
    return `${running}/${desired} (${completed}/${total} completed)`;
  }
  const most = mode?.Replicated === undefined ? 0 : (task?.Placement?.MaxReplicas ?? 0);
  return `${running}/${desired}${most > 0 ? ` (max ${most} per node)` : ''}`;
}

/**
 * The ports published on every node, neighbours as ranges: `*:80-81->80-81/tcp`. A range ends where the target ports
 * stop rising with the published ones.
 */
function portRanges(ports: readonly PortConfig[]): string {
  const sorted = ports
    .filter(({ PublishMode: mode }) => (mode ?? 'ingress') === 'ingress')
    .map((port) => ({
      protocol: port.Protocol ?? 'tcp',
      published: port.PublishedPort ?? 0,
      target: port.TargetPort ?? 0,
      address: port.HostIP?.includes(':') ? `[${port.HostIP}]` : (port.HostIP ?? '*'),
    }))
    .sort((a, b) => (a.protocol === b.protocol ? a.published - b.published : a.protocol < b.protocol ? -1 : 1));
  const ranges: { address: string; protocol: string; published: [number, number]; target: [number, number] }[] = [];
  for (const { address, protocol, published, target } of sorted) {
    const last = ranges.at(-1);
    const continues =
      last !== undefined &&
      last.protocol === protocol &&
      last.address === address &&
      published - last.published[1] <= 1 &&
      target >= last.target[1] &&
      target - last.target[1] <= 1 &&
      !(last.target[0] !== last.target[1] && target <= last.target[1]);
    if (continues) {
      last.published[1] = published;
      last.target[1] = target;
    } else {
      ranges.push({ address, protocol, published: [published, published], target: [target, target] });
    }
  }
  const text = ([first, last]: [number, number]) => (last > first ? `${first}-${last}` : `${first}`);
  return ranges
    .filter(({ published }) => published[0] > 0)
    .map(({ address, protocol, published, target }) => `${address}:${text(published)}->${text(target)}/${protocol}`)
    .join(', ');
}

export const TASKS: ListKind = {
  headings: {
    ID: 'ID',
    Name: 'NAME',
    Image: 'IMAGE',
    Node: 'NODE',
    DesiredState: 'DESIRED STATE',
    CurrentState: 'CURRENT STATE',
    Error: 'ERROR',
    Ports: 'PORTS',
  },
  defaultTable:
    '{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}',
  raw: {
    all:
      'id: {{.ID}}\nname: {{.Name}}\nimage: {{.Image}}\nnode: {{.Node}}\ndesired_state: {{.DesiredState}}\n' +
      'current_state: {{.CurrentState}}\nerror: {{.Error}}\nports: {{.Ports}}\n',
    quiet: 'id: {{.ID}}',
  },
};

/** How many characters of an error a list shows. */
const ERROR_WIDTH = 30;

export interface TaskListOptions {
  /** The names of services and nodes by id; an id that has none stands for itself. */
  names: ReadonlyMap<string, string>;
  truncate: boolean;
  /** Marks the earlier tasks of a slot, which only a table does. */
  isTable: boolean;
  nowMs: number;
}

/** Tasks by name and slot, of each slot the newest first. */
export function taskRows(tasks: readonly Task[], { names, truncate, isTable, nowMs }: TaskListOptions): Struct[] {
  const nameOf = (id: string | undefined) => names.get(id ?? '') ?? id ?? '';
  const named = tasks.map((task) => {
    const service = nameOf(task.ServiceID);
    return { task, name: `${service}.${task.Slot !== undefined && task.Slot > 0 ? task.Slot : (task.NodeID ?? '')}` };
  });
  named.sort((a, b) => compareNaturally(a.name, b.name) || Date.parse(b.task.CreatedAt) - Date.parse(a.task.CreatedAt));
  return named.map(({ task, name }, i) => {
    const isEarlier = isTable && named[i - 1]?.name === name;
    const image = task.Spec.ContainerSpec?.Image ?? '';
    return structOf('*task.taskContext', {
      ID: () => (truncate ? shortId(task.ID) : task.ID),
      Name: () => (isEarlier ? ` \\_ ${name}` : name),
      Image: () => (truncate ? withoutDigest(image) : image),
      Node: () => nameOf(task.NodeID),
      DesiredState: () => capitalized(task.DesiredState),
      CurrentState: () =>
        `${capitalized(task.Status.State)} ${humanDuration(ageMs(task.Status.Timestamp, nowMs)).toLowerCase()} ago`,
      Error: () => quotedError(taskError(task.Status), truncate),
      Ports: () =>
        (task.Status.PortStatus?.Ports ?? [])
          .map((port) => `*:${port.PublishedPort ?? 0}->${port.TargetPort ?? 0}/${port.Protocol ?? ''}`)
          .join(','),
    });
  });
}

function quotedError(error: string, truncate: boolean): string {
  if (error === '') return '';
  const characters = [...error];
  const cut = truncate && characters.length > ERROR_WIDTH;
  return `"${cut ? `${characters.slice(0, ERROR_WIDTH - 1).join('')}…` : error}"`;
}

export const NODES: ListKind = {
  headings: {
    ID: 'ID',
    Self: '',
    Hostname: 'HOSTNAME',
    Status: 'STATUS',
    Availability: 'AVAILABILITY',
    ManagerStatus: 'MANAGER STATUS',
    EngineVersion: 'ENGINE VERSION',
    TLSStatus: 'TLS STATUS',
  },
  defaultTable:
    '{{.ID}} {{if .Self}}*{{else}} {{ end }}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}',
  raw: {
    all:
      'node_id: {{.ID}}\nhostname: {{.Hostname}}\nstatus: {{.Status}}\navailability: {{.Availability}}\n' +
      'manager_status: {{.ManagerStatus}}\n',
    quiet: 'node_id: {{.ID}}',
  },
};

/** @param self  the id of the node that answered, and the cluster's own root of trust */
export function nodeRows(nodes: readonly Node[], self: { id: string; tls: TlsInfo | undefined }): Struct[] {
  const sorted = [...nodes].sort((a, b) =>
    compareNaturally(a.Description?.Hostname ?? '', b.Description?.Hostname ?? ''),
  );
  return sorted.map((node) =>
    structOf('*node.nodeContext', {
      ID: () => node.ID,
      Self: () => node.ID === self.id,
      Hostname: () => node.Description?.Hostname ?? '',
      Status: () => capitalized(node.Status.State),
      Availability: () => capitalized(node.Spec.Availability ?? ''),
      ManagerStatus: () =>
        node.ManagerStatus?.Leader === true ? 'Leader' : capitalized(node.ManagerStatus?.Reachability ?? ''),
      EngineVersion: () => node.Description?.Engine?.EngineVersion ?? '',
      TLSStatus: () => tlsStatus(node.Description?.TLSInfo, self.tls),
    }),
  );
}

function tlsStatus(own: TlsInfo | undefined, cluster: TlsInfo | undefined): string {
  if (own?.TrustRoot === undefined || cluster?.TrustRoot === undefined) return 'Unknown';
  const same =
    own.TrustRoot === cluster.TrustRoot &&
    own.CertIssuerSubject === cluster.CertIssuerSubject &&
    own.CertIssuerPublicKey === cluster.CertIssuerPublicKey;
  return same ? 'Ready' : 'Needs Rotation';
}
