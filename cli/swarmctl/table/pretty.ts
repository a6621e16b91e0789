import type { ContainerSpec, HealthConfig, Node, Resources, Service, UpdateConfig } from '@apiary/api/model';
import { ageMs, capitalized, goDuration, humanBytes, humanDuration } from './human.js';

/**
 * `inspect --pretty` of a service: Docker's page, its tabs and spaces included.
 *
 * @param networks  the names of its networks by id; an id that has none stands for itself
 */
export function prettyService(service: Service, nowMs: number, networks: ReadonlyMap<string, string>): string {
  const { Spec: spec } = service;
  const task = spec.TaskTemplate ?? {};
  const container = task.ContainerSpec ?? {};
  const replicas = spec.Mode?.Replicated?.Replicas;
  const lines = [
    '',
    `ID:\t\t${service.ID}`,
    `Name:\t\t${spec.Name ?? ''}`,
    ...section('Labels:', pairs(spec.Labels, ' ', '=')),
    `Service Mode:${spec.Mode?.Global !== undefined ? '\tGlobal' : spec.Mode?.Replicated !== undefined ? '\tReplicated' : ''}`,
    ...(replicas === undefined ? [] : [` Replicas:\t${replicas}`]),
    ...updateStatusLines(service, nowMs),
    'Placement:',
    ...line(' Constraints:\t', listText(task.Placement?.Constraints)),
    ...line(
      ' Preferences:   ',
      listText(task.Placement?.Preferences?.map(({ Spread }) => `spread=${Spread?.SpreadDescriptor ?? ''}`)),
    ),
    ...line(' Max Replicas Per Node:   ', task.Placement?.MaxReplicas || undefined),
    ...configLines('UpdateConfig:', spec.UpdateConfig, 'Update order:      '),
    ...configLines('RollbackConfig:', spec.RollbackConfig, 'Rollback order:    '),
    ...containerLines(container),
    ...logDriverLines(task.LogDriver),
    ...resourceLines(task.Resources),
    ...networksLine(task.Networks?.map(({ Target = '' }) => networks.get(Target) ?? Target) ?? []),
    `Endpoint Mode:\t${spec.EndpointSpec?.Mode ?? ''}`,
    ...portLines(service),
  ];
  return `${lines.join('\n')}${healthText(container.Healthcheck)}\n\n`;
}

/** A line when there is something to say on it. */
function line(head: string, value: string | number | boolean | undefined): string[] {
  return value === undefined || value === '' ? [] : [`${head}${value}`];
}

function section(head: string, lines: string[]): string[] {
  return lines.length === 0 ? [] : [head, ...lines];
}

export function pairs(map: Record<string, string> | undefined, indent: string, separator: string): string[] {
  const entries = Object.entries(map ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.map(([key, value]) => `${indent}${key}${value === '' ? '' : separator + value}`);
}

function listText(list: readonly string[] | undefined): string | undefined {
  return list === undefined || list.length === 0 ? undefined : `[${list.join(' ')}]`;
}

function updateStatusLines({ UpdateStatus: status }: Service, nowMs: number): string[] {
  if (status === undefined) return [];
  const ago = (time: string | undefined) =>
    time === undefined ? undefined : `${humanDuration(ageMs(time, nowMs))} ago`;
  return [
    'UpdateStatus:',
    ` State:\t\t${status.State}`,
    ...line(' Started:\t', ago(status.StartedAt)),
    ...line(' Completed:\t', status.State === 'completed' ? ago(status.CompletedAt) : undefined),
    ` Message:\t${status.Message}`,
  ];
}

function configLines(head: string, config: UpdateConfig | undefined, orderHead: string): string[] {
  if (config === undefined) return [];
  const time = (nanoseconds: number | undefined) =>
    nanoseconds !== undefined && nanoseconds > 0 ? goDuration(nanoseconds) : undefined;
  return [
    head,
    ` Parallelism:\t${config.Parallelism ?? 0}`,
    ...line(' Delay:\t\t', time(config.Delay)),
    ` On failure:\t${config.FailureAction ?? ''}`,
    ...line(' Monitoring Period: ', time(config.Monitor)),
    ` Max failure ratio: ${config.MaxFailureRatio ?? 0}`,
    ` ${orderHead}${config.Order ?? ''}`,
  ];
}

function containerLines(container: ContainerSpec): string[] {
  const spaced = (list: readonly string[] | undefined) => (list ?? []).map((word) => `${word} `).join('');
  const ulimits = (container.Ulimits ?? []).map((limit) => ` ${limit.Name}: ${limit.Soft}:${limit.Hard}`);
  const capabilities = [
    ...line(' Add: ', container.CapabilityAdd?.join(', ')),
    ...line(' Drop: ', container.CapabilityDrop?.join(', ')),
  ];
  const mounts = (container.Mounts ?? []).flatMap((mount) => [
    ` Target:\t${mount.Target ?? ''}`,
    `  Source:\t${mount.Source ?? ''}`,
    `  ReadOnly:\t${mount.ReadOnly ?? false}`,
    `  Type:\t\t${mount.Type ?? ''}`,
  ]);
  const files = (list: { File?: { Name?: string | undefined } | undefined; source: string }[]) =>
    list.flatMap(({ File, source }) => [` Target:\t${File?.Name ?? ''}`, `  Source:\t${source}`]);
  return [
    'ContainerSpec:',
    ` Image:\t\t${container.Image ?? ''}`,
    ...line(' Args:\t\t', spaced(container.Args)),
    ...line(' Env:\t\t', spaced(container.Env)),
    ...line(' Dir:\t\t', container.Dir),
    ...line(' Init:\t\t', container.Init),
    ...line(' User: ', container.User),
    ...section('Capabilities:', capabilities),
    ...section('SysCtls:', pairs(container.Sysctls, ' ', ': ')),
    ...section('Ulimits:', ulimits.sort()),
    ...section('Mounts:', mounts),
    ...section('Configs:', files((container.Configs ?? []).map((c) => ({ File: c.File, source: c.ConfigName ?? '' })))),
    ...section('Secrets:', files((container.Secrets ?? []).map((s) => ({ File: s.File, source: s.SecretName ?? '' })))),
  ];
}

function logDriverLines(
  driver: { Name?: string | undefined; Options?: Record<string, string> | undefined } | undefined,
) {
  if (driver === undefined) return [];
  const options = pairs(driver.Options, '  ', ':       ');
  return ['Log Driver:', ...line(' Name:\t\t', driver.Name), ...section(' LogOpts:', options), ''];
}

function resourceLines(resources: Resources | undefined): string[] {
  if (resources === undefined) return [];
  const part = (head: string, given: { NanoCPUs?: number | undefined; MemoryBytes?: number | undefined } = {}) => [
    head,
    ...line('  CPU:\t\t', (given.NanoCPUs ?? 0) > 0 ? (given.NanoCPUs ?? 0) / 1e9 : undefined),
    ...line('  Memory:\t', (given.MemoryBytes ?? 0) > 0 ? humanBytes(given.MemoryBytes ?? 0) : undefined),
  ];
  const { Reservations: reserved, Limits: limits } = resources;
  const hasReserved = (reserved?.NanoCPUs ?? 0) > 0 || (reserved?.MemoryBytes ?? 0) > 0;
  const pids = limits?.Pids ?? 0;
  const hasLimits = (limits?.NanoCPUs ?? 0) > 0 || (limits?.MemoryBytes ?? 0) > 0 || pids > 0;
  return [
    'Resources:',
    ...(hasReserved ? part(' Reservations:', reserved) : []),
    ...(hasLimits ? part(' Limits:', limits) : []),
    ...line('  PIDs:\t\t', pids > 0 ? pids : undefined),
  ];
}

function networksLine(networks: string[]): string[] {
  return networks.length === 0 ? [] : [`Networks:${networks.map((name) => ` ${name}`).join('')} `];
}

function portLines({ Endpoint: endpoint }: Service): string[] {
  const ports = endpoint?.Ports ?? [];
  const lines = ports.flatMap((port) => [
    ` PublishedPort = ${port.PublishedPort ?? 0}`,
    `  Protocol = ${port.Protocol ?? ''}`,
    `  TargetPort = ${port.TargetPort ?? 0}`,
    `  PublishMode = ${port.PublishMode ?? ''}`,
  ]);
  const last = lines.pop();
  return last === undefined ? [] : ['Ports:', ...lines, `${last} `];
}

function healthText(health: HealthConfig | undefined): string {
  if (health === undefined) return '';
  const tests = (health.Test ?? []).map((test) => `\t Test = ${test}`);
  const lines = [
    '',
    ' Healthcheck:',
    `  Interval = ${goDuration(health.Interval ?? 0)}`,
    `  Retries = ${health.Retries ?? 0}`,
    `  StartPeriod =\t${goDuration(health.StartPeriod ?? 0)}`,
    `  Timeout =\t${goDuration(health.Timeout ?? 0)}`,
    ...section('  Tests:', tests),
  ];
  return lines.join('\n') + (tests.length === 0 ? '' : ' ');
}

/** `inspect --pretty` of a node: Docker's page. */
export function prettyNode(node: Node): string {
  const { Description: description, ManagerStatus: manager, Spec: spec } = node;
  const tls = description?.TLSInfo;
  const plugins = new Map<string, string[]>();
  for (const { Type: type, Name: name } of description?.Engine?.Plugins ?? []) {
    plugins.set(type, [...(plugins.get(type) ?? []), name]);
  }
  const cpus = Math.trunc((description?.Resources?.NanoCPUs ?? 0) / 1e9);
  const lines = [
    `ID:\t\t\t${node.ID}`,
    ...line('Name:\t\t\t', spec.Name),
    ...section('Labels:', pairs(spec.Labels, ' - ', '=')),
    `Hostname:              \t${description?.Hostname ?? ''}`,
    `Joined at:             \t${goTime(node.CreatedAt)}`,
    'Status:',
    ` State:\t\t\t${capitalized(node.Status.State)}`,
    ...line(' Message:              \t', capitalized(node.Status.Message ?? '')),
    ` Availability:         \t${capitalized(spec.Availability ?? '')}`,
    ...line(' Address:\t\t', node.Status.Addr),
    ...(manager === undefined
      ? []
      : [
          'Manager Status:',
          ` Address:\t\t${manager.Addr}`,
          ` Raft Status:\t\t${capitalized(manager.Reachability)}`,
          ` Leader:\t\t${manager.Leader === true ? 'Yes' : 'No'}`,
        ]),
    'Platform:',
    ` Operating System:\t${description?.Platform?.OS ?? ''}`,
    ` Architecture:\t\t${description?.Platform?.Architecture ?? ''}`,
    'Resources:',
    ` CPUs:\t\t\t${cpus}`,
    ` Memory:\t\t${humanBytes(description?.Resources?.MemoryBytes ?? 0)}`,
    ...section(
      'Plugins:',
      [...plugins].sort(([a], [b]) => (a < b ? -1 : 1)).map(([type, names]) => ` ${type}:\t\t${names.join(', ')}`),
    ),
    `Engine Version:\t\t${description?.Engine?.EngineVersion ?? ''}`,
    ...section('Engine Labels:', pairs(description?.Engine?.Labels, ' - ', '=')),
    ...(tls === undefined
      ? []
      : [
          'TLS Info:',
          ' TrustRoot:',
          tls.TrustRoot,
          ` Issuer Subject:\t${tls.CertIssuerSubject}`,
          ` Issuer Public Key:\t${tls.CertIssuerPublicKey}`,
        ]),
  ];
  return `${lines.join('\n')}\n`;
}

/** `2026-01-02T03:04:05.678Z` as Go prints a time: `2026-01-02 03:04:05.678 +0000 utc`, which Docker shows. */
export function goTime(time: string): string {
  return time
    .replace('T', ' ')
    .replace(/(\.\d*?)0+Z$/, '$1Z')
    .replace(/\.?Z$/, ' +0000 utc');
}
