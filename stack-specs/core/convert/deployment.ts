import type { EndpointSpec, Placement, Resources, RestartPolicy, ServiceSpec, UpdateConfig } from '@apiary/api/model';
import { positiveNs } from './container.js';
import type { Fields } from './fields.js';
import { given } from './fields.js';

/** What `deploy` and its neighbours say of how a service runs. */

export function convertMode(service: Fields): ServiceSpec['Mode'] {
  const deploy = service.in('deploy');
  const mode = deploy.text('mode') ?? 'replicated';
  const replicas = count(deploy, 'replicas') ?? (deploy.has('replicas') ? undefined : count(service, 'scale'));
  switch (mode) {
    case 'replicated':
      return { Replicated: given({ Replicas: replicas }) };
    case 'replicated-job':
      return { ReplicatedJob: given({ MaxConcurrent: replicas, TotalCompletions: replicas }) };
    case 'global':
    case 'global-job':
      if (replicas !== undefined) deploy.error(`a service of the mode ${mode} has no replicas`, 'replicas');
      return mode === 'global' ? { Global: {} } : { GlobalJob: {} };
    default:
      deploy.error(
        `unknown mode ${JSON.stringify(mode)}: it is replicated, global, replicated-job or global-job`,
        'mode',
      );
      return undefined;
  }
}

/** A whole number that is not negative. */
export function count(fields: Fields, key: string): number | undefined {
  const value = fields.number(key);
  if (value !== undefined && value < 0) fields.error(`${value} is negative: at least 0 is expected`, key);
  return value;
}

export function convertUpdateConfig(deploy: Fields, key: string): UpdateConfig | undefined {
  if (!deploy.has(key)) return undefined;
  const config = deploy.in(key);
  const action = config.text('failure_action');
  if (action !== undefined && !['pause', 'continue', 'rollback'].includes(action)) {
    config.error(`${JSON.stringify(action)} is none of pause, continue and rollback`, 'failure_action');
  }
  const ratio = config.number('max_failure_ratio');
  if (ratio !== undefined && (ratio < 0 || ratio > 1))
    config.error(`${ratio} is not between 0 and 1`, 'max_failure_ratio');
  return given({
    Parallelism: count(config, 'parallelism') ?? 1,
    Delay: positiveNs(config, 'delay'),
    FailureAction: action,
    Monitor: positiveNs(config, 'monitor'),
    MaxFailureRatio: ratio,
    Order: config.text('order'),
  });
}

export function convertResources(deploy: Fields): Resources {
  const resources = deploy.in('resources');
  const limits = resources.in('limits');
  const reservations = resources.in('reservations');
  const generic = reservations.each('generic_resources').flatMap((one) => {
    const spec = one.in('discrete_resource_spec');
    return [{ DiscreteResourceSpec: { Kind: spec.text('kind') ?? '', Value: spec.number('value') ?? 0 } }];
  });
  if (reservations.has('devices')) reservations.warn('devices are not reserved: use generic_resources', 'devices');
  return given({
    Limits: resources.has('limits')
      ? given({ NanoCPUs: nanoCpus(limits), MemoryBytes: bytes(limits), Pids: limits.number('pids') })
      : undefined,
    Reservations: resources.has('reservations')
      ? given({
          NanoCPUs: nanoCpus(reservations),
          MemoryBytes: bytes(reservations),
          GenericResources: generic.length === 0 ? undefined : generic,
        })
      : undefined,
  });
}

function bytes(fields: Fields): number | undefined {
  const value = fields.number('memory');
  if (value !== undefined && value < 0) fields.error('a size cannot be negative', 'memory');
  return value;
}

/** Billionths of a CPU, of a decimal or a fraction. */
function nanoCpus(fields: Fields): number | undefined {
  const text = fields.text('cpus');
  if (text === undefined) return undefined;
  const [, whole, divisor = '1'] = /^\+?((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\/(\d+))?$/.exec(text.trim()) ?? [];
  const value = (Number(whole) * 1e9) / Number(divisor);
  const nano = Math.round(value);
  if (whole === undefined || !Number.isFinite(value)) {
    fields.error(`${JSON.stringify(text)} is no number of CPUs: write one such as "0.5"`, 'cpus');
    return undefined;
  }
  if (Math.abs(value - nano) > 1e-3) fields.error(`${text} is too precise: a billionth of a CPU is the least`, 'cpus');
  return nano;
}

const ENDS = ['none', 'on-failure', 'any'];

/** `deploy.restart_policy`, or what the older `restart` says. */
export function convertRestartPolicy(service: Fields): RestartPolicy | undefined {
  const deploy = service.in('deploy');
  if (deploy.has('restart_policy')) {
    const policy = deploy.in('restart_policy');
    const condition = policy.text('condition');
    if (condition !== undefined && !ENDS.includes(condition)) {
      policy.error(`${JSON.stringify(condition)} is none of ${ENDS.join(', ')}`, 'condition');
    }
    return given({
      Condition: condition,
      Delay: positiveNs(policy, 'delay'),
      MaxAttempts: count(policy, 'max_attempts'),
      Window: positiveNs(policy, 'window'),
    });
  }
  const restart = service.text('restart');
  const [, word, attempts] = /^([a-z-]*)(?::(\d+))?$/.exec(restart ?? '') ?? [];
  if (restart === undefined || (word === 'no' && attempts === undefined)) return undefined;
  if ((word === 'always' || word === 'unless-stopped') && attempts === undefined) return { Condition: 'any' };
  if (word === 'on-failure') return given({ Condition: 'on-failure', MaxAttempts: Number(attempts ?? 0) });
  service.error(
    `unknown restart policy ${JSON.stringify(restart)}: it is no, always, unless-stopped, on-failure or on-failure:TIMES`,
    'restart',
  );
  return undefined;
}

export function convertPlacement(deploy: Fields): Placement {
  const placement = deploy.in('placement');
  const preferences = placement
    .each('preferences')
    .map((one) => ({ Spread: { SpreadDescriptor: one.text('spread') ?? '' } }));
  return given({
    Constraints: placement.texts('constraints'),
    Preferences: preferences.length === 0 ? undefined : preferences,
    MaxReplicas: count(placement, 'max_replicas_per_node') || undefined,
  });
}

export function convertEndpoint(service: Fields): EndpointSpec {
  const mode = service.in('deploy').text('endpoint_mode')?.toLowerCase();
  const ports = service
    .each('ports')
    .map((port) => {
      const target = port.number('target') ?? 0;
      const published = port.number('published');
      for (const [key, value] of [
        ['target', target],
        ['published', published ?? 0],
      ] as const) {
        if (!Number.isInteger(value) || value < 0 || value > 65_535)
          port.error(`${value} is no port: at most 65535`, key);
      }
      return given({
        Protocol: port.text('protocol'),
        TargetPort: target,
        PublishedPort: published || undefined,
        PublishMode: port.text('mode'),
        HostIP: port.text('host_ip') || undefined,
      });
    })
    .sort((a, b) => (a.PublishedPort ?? 0) - (b.PublishedPort ?? 0));
  refuseDoublePorts(service, ports);
  return given({ Mode: mode, Ports: ports.length === 0 ? undefined : ports });
}

function refuseDoublePorts(service: Fields, ports: NonNullable<EndpointSpec['Ports']>): void {
  const seen = new Map<string, number>();
  for (const { PublishedPort: port, Protocol, PublishMode, TargetPort } of ports) {
    if (port === undefined) continue;
    const key = `${port}/${Protocol ?? 'tcp'}/${PublishMode ?? 'ingress'}`;
    const before = seen.get(key);
    if (before !== undefined) {
      service.error(
        `port ${port}/${Protocol ?? 'tcp'} is published twice: for ${before} and for ${TargetPort}`,
        'ports',
      );
    }
    seen.set(key, TargetPort ?? 0);
  }
}
