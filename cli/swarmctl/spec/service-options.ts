import type { PortConfig, ServiceSpec, UpdateConfig } from '@apiary/api/model';
import {
  boolFlag,
  type ParsedFlags,
  parseDuration,
  parseRatio,
  parseUint,
  textFlag,
  valueFlag,
} from '../command-line/index.js';
import { CONTAINER_OPTIONS, mapFamily } from './container-options.js';
import {
  containerOf,
  family,
  orNothing,
  type ServiceOption,
  SpecError,
  scalar,
  scalarValue,
  taskOf,
} from './option.js';
import { parsePorts, portKey } from './port.js';
import { REFERENCE_OPTION } from './references.js';
import { TASK_OPTIONS } from './task-options.js';
import { parseLabel } from './values.js';

const SECOND = 1_000_000_000;

function name(): ServiceOption {
  const flag = textFlag('name', 'Service name');
  return {
    createFlags: [flag],
    updateFlags: [],
    create: (spec, given) => {
      spec.Name = orNothing(given.get(flag) ?? '');
    },
    update: () => {},
  };
}

/** @param rolling  the rows of rolling updates, which a job has not */
function mode(rolling: readonly ServiceOption[]): ServiceOption {
  const words = 'Service mode ("replicated", "global", "replicated-job", "global-job")';
  const flag = textFlag('mode', words, { defaultText: '"replicated"' });
  const replicas = valueFlag('replicas', 'Number of tasks', 'uint', parseUint);
  const concurrentWords = 'Number of job tasks to run concurrently (default equal to --replicas)';
  const maxConcurrent = valueFlag('max-concurrent', concurrentWords, 'uint', parseUint);
  const refuseRolling = (given: ParsedFlags): void => {
    const isAsked = rolling.some(({ updateFlags }) => updateFlags.some((each) => given.get(each) !== undefined));
    if (isAsked) throw new SpecError('update and rollback configuration is not supported for jobs');
  };
  const create = (spec: ServiceSpec, given: ParsedFlags): void => {
    const asked = given.get(flag) ?? 'replicated';
    const count = given.get(replicas);
    const concurrent = given.get(maxConcurrent);
    if (!['replicated', 'global', 'replicated-job', 'global-job'].includes(asked)) {
      throw new SpecError(`Unknown mode: ${asked}, only replicated and global supported`);
    }
    const onEachNode = asked === 'global' || asked === 'global-job';
    if (onEachNode && (spec.TaskTemplate?.Placement?.MaxReplicas ?? 0) > 0) {
      throw new SpecError('replicas-max-per-node can only be used with replicated or replicated-job mode');
    }
    if (asked !== 'replicated-job' && concurrent !== undefined) {
      throw new SpecError('max-concurrent can only be used with replicated-job mode');
    }
    if (onEachNode && count !== undefined) {
      throw new SpecError('replicas can only be used with replicated or replicated-job mode');
    }
    if (asked.endsWith('-job')) refuseRolling(given);
    if (asked === 'replicated') spec.Mode = { Replicated: count === undefined ? {} : { Replicas: count } };
    else if (asked === 'global') spec.Mode = { Global: {} };
    else if (asked === 'global-job') spec.Mode = { GlobalJob: {} };
    else spec.Mode = { ReplicatedJob: jobOf(count, concurrent ?? count) };
  };
  return {
    createFlags: [flag, replicas, maxConcurrent],
    updateFlags: [replicas, maxConcurrent],
    create,
    update: (spec, given) => {
      if ((spec.Mode?.ReplicatedJob ?? spec.Mode?.GlobalJob) !== undefined) refuseRolling(given);
      const count = given.get(replicas);
      const concurrent = given.get(maxConcurrent);
      if (count !== undefined) {
        if (spec.Mode?.Replicated === undefined) throw new SpecError('replicas can only be used with replicated mode');
        spec.Mode.Replicated.Replicas = count;
      }
      if (concurrent !== undefined) {
        if (spec.Mode?.ReplicatedJob === undefined) {
          throw new SpecError('max-concurrent can only be used with replicated-job mode');
        }
        spec.Mode.ReplicatedJob.MaxConcurrent = concurrent;
      }
    },
  };
}

function jobOf(total: number | undefined, concurrent: number | undefined) {
  return {
    ...(concurrent !== undefined && { MaxConcurrent: concurrent }),
    ...(total !== undefined && { TotalCompletions: total }),
  };
}

/** The options of `UpdateConfig` or `RollbackConfig`: to name one of them asks for Docker's defaults of the others. */
function updateConfig(key: 'UpdateConfig' | 'RollbackConfig', words: UpdateWords): ServiceOption[] {
  const prefix = key === 'UpdateConfig' ? 'update' : 'rollback';
  const configOf = (spec: ServiceSpec): UpdateConfig => {
    const config = spec[key] ?? {
      Parallelism: 1,
      FailureAction: 'pause',
      Monitor: 5 * SECOND,
      MaxFailureRatio: 0,
      Order: 'stop-first',
    };
    spec[key] = config;
    return config;
  };
  return [
    scalarValue(
      `${prefix}-parallelism`,
      'uint',
      words.parallelism,
      parseUint,
      (spec, value) => {
        configOf(spec).Parallelism = value;
      },
      '1',
    ),
    scalarValue(
      `${prefix}-delay`,
      'duration',
      words.delay,
      parseDuration,
      (spec, value) => {
        configOf(spec).Delay = orNothing(value);
      },
      '0s',
    ),
    scalarValue(
      `${prefix}-monitor`,
      'duration',
      words.monitor,
      parseDuration,
      (spec, value) => {
        configOf(spec).Monitor = orNothing(value);
      },
      '5s',
    ),
    scalarValue(
      `${prefix}-max-failure-ratio`,
      'float',
      words.ratio,
      parseRatio,
      (spec, value) => {
        configOf(spec).MaxFailureRatio = value;
      },
      '0',
    ),
    scalar(textFlag(`${prefix}-failure-action`, words.action, { defaultText: '"pause"' }), (spec, value) => {
      configOf(spec).FailureAction = orNothing(value);
    }),
    scalar(textFlag(`${prefix}-order`, words.order, { defaultText: '"stop-first"' }), (spec, value) => {
      configOf(spec).Order = value;
    }),
  ];
}

interface UpdateWords {
  parallelism: string;
  delay: string;
  monitor: string;
  ratio: string;
  action: string;
  order: string;
}

const UPDATE: UpdateWords = {
  parallelism: 'Maximum number of tasks updated simultaneously (0 to update all at once)',
  delay: 'Delay between updates (ns|us|ms|s|m|h)',
  monitor: 'Duration after each task update to monitor for failure (ns|us|ms|s|m|h)',
  ratio: 'Failure rate to tolerate during an update',
  action: 'Action on update failure ("pause", "continue", "rollback")',
  order: 'Update order ("start-first", "stop-first")',
};

const ROLLBACK: UpdateWords = {
  parallelism: 'Maximum number of tasks rolled back simultaneously (0 to roll back all at once)',
  delay: 'Delay between task rollbacks (ns|us|ms|s|m|h)',
  monitor: 'Duration after each task rollback to monitor for failure (ns|us|ms|s|m|h)',
  ratio: 'Failure rate to tolerate during a rollback',
  action: 'Action on rollback failure ("pause", "continue")',
  order: 'Rollback order ("start-first", "stop-first")',
};

function endpointMode(): ServiceOption {
  const flag = textFlag('endpoint-mode', 'Endpoint mode (vip or dnsrr)', { defaultText: '"vip"' });
  return {
    createFlags: [flag],
    updateFlags: [{ ...flag, defaultText: undefined }],
    create: (spec, given) => {
      spec.EndpointSpec = { ...spec.EndpointSpec, Mode: (given.get(flag) ?? 'vip').toLowerCase() };
    },
    update: (spec, given) => {
      const value = given.get(flag);
      if (value !== undefined) spec.EndpointSpec = { ...spec.EndpointSpec, Mode: orNothing(value) };
    },
  };
}

const publish = family<PortConfig[]>(
  {
    name: 'publish',
    short: 'p',
    type: 'port',
    removeType: 'port',
    usage: {
      create: 'Publish a port as a node port',
      add: 'Add or update a published port',
      remove: 'Remove a published port by its target port',
    },
    parse: parsePorts,
    parseRemoved: parsePorts,
  },
  (spec, { added, removed, isNew }) => {
    const ports = added.flat();
    const gone = removed.flatMap((ports) => (typeof ports === 'string' ? [] : ports));
    const isGone = (port: PortConfig): boolean =>
      gone.some(
        (other) =>
          (other.Protocol ?? 'tcp') === (port.Protocol ?? 'tcp') &&
          other.TargetPort === port.TargetPort &&
          (other.PublishMode ?? 'ingress') === (port.PublishMode ?? 'ingress'),
      );
    const current = new Map((spec.EndpointSpec?.Ports ?? []).map((port) => [portKey(port), port]));
    const kept = [...current.values()].filter((port) => !isGone(port));
    const fresh = ports.filter((port) => !current.has(portKey(port)));
    const all = isNew ? ports : [...kept, ...fresh].sort((a, b) => (portKey(a) < portKey(b) ? -1 : 1));
    spec.EndpointSpec = { ...spec.EndpointSpec, Ports: orNothing(all) };
  },
);

export const imageFlag = textFlag('image', 'Service image tag');
export const forceFlag = boolFlag('force', 'Force update even if no changes require it');

const image: ServiceOption = {
  createFlags: [],
  updateFlags: [imageFlag],
  create: () => {},
  update: (spec, given) => {
    const value = given.get(imageFlag);
    if (value !== undefined) containerOf(spec).Image = orNothing(value);
  },
};

const force: ServiceOption = {
  createFlags: [],
  updateFlags: [forceFlag],
  create: (spec) => {
    taskOf(spec).ForceUpdate = 0;
  },
  update: (spec, given) => {
    if (given.get(forceFlag) === true) taskOf(spec).ForceUpdate = (taskOf(spec).ForceUpdate ?? 0) + 1;
  },
};

const ROLLING_OPTIONS = [...updateConfig('UpdateConfig', UPDATE), ...updateConfig('RollbackConfig', ROLLBACK)];

/**
 * The one table of what `service create` and `service update` can set. The order matters in one place: `mode` looks at
 * what the rows before it have put into the placement.
 */
export const SERVICE_OPTIONS: ServiceOption[] = [
  ...CONTAINER_OPTIONS,
  ...TASK_OPTIONS,
  name(),
  mapFamily(
    'label',
    'l',
    { create: 'Service labels', add: 'Add or update a service label', remove: 'Remove a label by its key' },
    parseLabel,
    (spec) => ({
      get: () => spec.Labels,
      set: (map) => {
        spec.Labels = map;
      },
    }),
  ),
  mode(ROLLING_OPTIONS),
  ...ROLLING_OPTIONS,
  endpointMode(),
  publish,
  REFERENCE_OPTION,
  image,
  force,
];
