import type { HealthConfig, Resources, RestartPolicy, ServiceSpec } from '@apiary/api/model';
import {
  boolFlag,
  type Flag,
  listFlag,
  type ParsedFlags,
  parseBytes,
  parseCpus,
  parseDuration,
  parseInt64,
  parsePositiveDuration,
  parseUint,
  textFlag,
  valueFlag,
} from '../command-line/index.js';
import {
  containerOf,
  family,
  orNothing,
  placementOf,
  type ServiceOption,
  SpecError,
  scalar,
  scalarValue,
  taskOf,
} from './option.js';
import { type PlacementPreference, parseEnv, parseGenericResource, parsePlacementPreference } from './values.js';
import { toMap } from './words.js';

const SECOND = 1_000_000_000;

function resourcesOf(spec: ServiceSpec): Resources & Required<Pick<Resources, 'Limits' | 'Reservations'>> {
  const task = taskOf(spec);
  const resources = {
    ...task.Resources,
    Limits: task.Resources?.Limits ?? {},
    Reservations: task.Resources?.Reservations ?? {},
  };
  task.Resources = resources;
  return resources;
}

const RESOURCES: ServiceOption[] = [
  genericResources(),
  scalarValue('limit-cpu', 'decimal', 'Limit CPUs', parseCpus, (spec, nanoCpus) => {
    Object.assign(resourcesOf(spec).Limits, { NanoCPUs: orNothing(nanoCpus) });
  }),
  scalarValue('limit-memory', 'bytes', 'Limit Memory', parseBytes, (spec, bytes) => {
    Object.assign(resourcesOf(spec).Limits, { MemoryBytes: orNothing(bytes) });
  }),
  scalarValue(
    'limit-pids',
    'int',
    'Limit maximum number of processes (default 0 = unlimited)',
    parseInt64,
    (spec, pids) => {
      Object.assign(resourcesOf(spec).Limits, { Pids: orNothing(pids) });
    },
  ),
  scalarValue('reserve-cpu', 'decimal', 'Reserve CPUs', parseCpus, (spec, nanoCpus) => {
    Object.assign(resourcesOf(spec).Reservations, { NanoCPUs: orNothing(nanoCpus) });
  }),
  scalarValue('reserve-memory', 'bytes', 'Reserve Memory', parseBytes, (spec, bytes) => {
    Object.assign(resourcesOf(spec).Reservations, { MemoryBytes: orNothing(bytes) });
  }),
];

interface CountedResource {
  kind: string;
  count: number;
}

/** Counted resources: who asks for named ones says how many, not which. */
function genericResources(): ServiceOption {
  const words = {
    create: 'User defined resources',
    add: 'Add a Generic resource',
    remove: 'Remove a Generic resource',
  };
  return family<string>(
    { name: 'generic-resource', usage: words, parse: parseGenericResource },
    (spec, { added, removed }) => {
      const task = taskOf(spec);
      const reservations = task.Resources?.Reservations ?? {};
      task.Resources = { ...task.Resources, Reservations: reservations };
      const counts = new Map(
        (reservations.GenericResources ?? []).map((each) => [each.DiscreteResourceSpec?.Kind ?? '', each]),
      );
      for (const { kind, count } of countedResources(added)) {
        counts.set(kind, { DiscreteResourceSpec: { Kind: kind, Value: count } });
      }
      for (const kind of removed) {
        if (!counts.delete(kind)) throw new SpecError(`could not find generic-resource \`${kind}\` to remove it`);
      }
      reservations.GenericResources = orNothing([...counts.values()]);
    },
  );
}

/** @throws SpecError in Docker's words for what is no count */
function countedResources(words: string[]): CountedResource[] {
  const invalid = (what: string) =>
    new SpecError(`invalid generic resource specification: could not parse GenericResource: ${what}`);
  const values = new Map<string, string[]>();
  for (const word of words) {
    const [kind = '', value, ...more] = word.split('=').map((part) => part.trim());
    if (value === undefined || more.length > 0) {
      throw invalid(`incorrect term ${word}, missing '=' or malformed expression`);
    }
    values.set(kind, [...(values.get(kind) ?? []), value]);
  }
  return [...values].map(([kind, given]) => {
    const [value = ''] = given;
    const isCount = (text: string) => /^[+-]?\d+$/.test(text) && Number.isSafeInteger(Number(text));
    if (given.length === 1 && isCount(value)) {
      if (Number(value) < 0) throw invalid(`cannot ask for negative resource ${kind}`);
      return { kind, count: Number(value) };
    }
    if (given.some(isCount)) {
      throw invalid(`mixed discrete and named resources in expression '${kind}=[${given.join(' ')}]'`);
    }
    throw new SpecError(
      `invalid generic-resource request \`${kind}=${value}\`, Named Generic Resources is not supported for service create or update`,
    );
  });
}

/** Docker's default: to name one part of the policy asks for the defaults of the others. */
function restartPolicyOf(spec: ServiceSpec): RestartPolicy {
  const task = taskOf(spec);
  task.RestartPolicy ??= { Condition: 'any', Delay: 5 * SECOND, MaxAttempts: 0 };
  return task.RestartPolicy;
}

const RESTART: ServiceOption[] = [
  scalar(
    textFlag('restart-condition', 'Restart when condition is met ("none", "on-failure", "any")', {
      defaultText: '"any"',
    }),
    (spec, condition) => {
      restartPolicyOf(spec).Condition = orNothing(condition);
    },
  ),
  scalarValue(
    'restart-delay',
    'duration',
    'Delay between restart attempts (ns|us|ms|s|m|h)',
    parseDuration,
    (spec, delay) => {
      restartPolicyOf(spec).Delay = delay;
    },
    '5s',
  ),
  scalarValue(
    'restart-max-attempts',
    'uint',
    'Maximum number of restarts before giving up',
    parseUint,
    (spec, most) => {
      restartPolicyOf(spec).MaxAttempts = most;
    },
  ),
  scalarValue(
    'restart-window',
    'duration',
    'Window used to evaluate the restart policy (ns|us|ms|s|m|h)',
    parseDuration,
    (spec, window) => {
      restartPolicyOf(spec).Window = window;
    },
  ),
];

const PLACEMENT: ServiceOption[] = [
  family<string>(
    {
      name: 'constraint',
      usage: {
        create: 'Placement constraints',
        add: 'Add or update a placement constraint',
        remove: 'Remove a constraint',
      },
      parse: (text) => text,
    },
    (spec, { added, removed, isNew }) => {
      const placement = placementOf(spec);
      const gone = new Set<unknown>(removed);
      const all = [...(placement.Constraints ?? []), ...added].filter((constraint) => !gone.has(constraint));
      placement.Constraints = orNothing(isNew ? all : all.sort());
    },
  ),
  preferences(),
  scalarValue(
    'replicas-max-per-node',
    'uint',
    'Maximum number of tasks per node (default 0 = unlimited)',
    parseUint,
    (spec, most) => {
      placementOf(spec).MaxReplicas = orNothing(most);
    },
  ),
];

function preferences(): ServiceOption {
  const apply: Parameters<typeof family<PlacementPreference>>[1] = (spec, { added, removed }) => {
    const placement = placementOf(spec);
    const gone = removed.map((preference) =>
      typeof preference === 'string' ? '' : preference.Spread.SpreadDescriptor,
    );
    const kept = (placement.Preferences ?? []).filter(({ Spread }) => !gone.includes(Spread?.SpreadDescriptor ?? ''));
    placement.Preferences = orNothing([...kept, ...added]);
  };
  return family<PlacementPreference>(
    {
      name: 'placement-pref',
      type: 'pref',
      removeType: 'pref',
      usage: {
        create: 'Add a placement preference',
        add: 'Add a placement preference',
        remove: 'Remove a placement preference',
      },
      parse: parsePlacementPreference,
      parseRemoved: parsePlacementPreference,
    },
    apply,
  );
}

/** An update replaces the driver as a whole, its options with it. */
function logDriver(): ServiceOption {
  const driver = textFlag('log-driver', 'Logging driver for service');
  const option = listFlag('log-opt', 'Logging driver options', parseEnv);
  const apply = (spec: ServiceSpec, given: ParsedFlags, isNew: boolean): void => {
    const name = given.get(driver) ?? '';
    // Docker drops the options then, without a word.
    if (name === '' && given.changed(option)) throw new SpecError('--log-opt needs --log-driver');
    if (name === '') return;
    const options = toMap(given.get(option) ?? []);
    const none = Object.keys(options).length === 0;
    taskOf(spec).LogDriver = { Name: name, ...(none ? {} : { Options: options }) };
    if (isNew && none) taskOf(spec).LogDriver = { Name: name };
  };
  return {
    createFlags: [driver, option],
    updateFlags: [driver, option],
    create: (spec, given) => apply(spec, given, true),
    update: (spec, given) => apply(spec, given, false),
  };
}

function healthcheck(): ServiceOption {
  const command = textFlag('health-cmd', 'Command to run to check health');
  const retries = valueFlag('health-retries', 'Consecutive failures needed to report unhealthy', 'int', parseInt64);
  const none = boolFlag('no-healthcheck', 'Disable any container-specified HEALTHCHECK');
  const times: [Flag<number>, 'Interval' | 'Timeout' | 'StartPeriod' | 'StartInterval'][] = [
    [durationFlag('health-interval', 'Time between running the check (ms|s|m|h)'), 'Interval'],
    [durationFlag('health-timeout', 'Maximum time to allow one check to run (ms|s|m|h)'), 'Timeout'],
    [
      durationFlag('health-start-interval', 'Time between running the check during the start period (ms|s|m|h)'),
      'StartInterval',
    ],
    [
      durationFlag(
        'health-start-period',
        'Start period for the container to initialize before counting retries towards unstable (ms|s|m|h)',
      ),
      'StartPeriod',
    ],
  ];
  const settings: Flag<unknown>[] = [command, retries, ...times.map(([flag]) => flag)];

  const apply = (spec: ServiceSpec, given: ParsedFlags): void => {
    const asked = settings.some((flag) => given.changed(flag));
    if (given.get(none) === true) {
      if (asked) throw new SpecError('--no-healthcheck conflicts with --health-* options');
      containerOf(spec).Healthcheck = { Test: ['NONE'] };
      return;
    }
    if (!asked && !given.changed(none)) return;
    const health: HealthConfig = { ...containerOf(spec).Healthcheck };
    if (health.Test?.[0] === 'NONE') health.Test = undefined;
    for (const [flag, key] of times) {
      const value = given.get(flag);
      if (value !== undefined) health[key] = orNothing(value);
    }
    const count = given.get(retries);
    if (count !== undefined) health.Retries = orNothing(count);
    const test = given.get(command);
    if (test !== undefined) health.Test = test === '' ? undefined : ['CMD-SHELL', test];
    containerOf(spec).Healthcheck = health;
  };
  const flags = [...settings, none];
  return {
    createFlags: flags,
    updateFlags: flags,
    // To say of a new service that it keeps its image's check is to say nothing.
    create: (spec, given) => {
      if (settings.some((flag) => given.changed(flag)) || given.get(none) === true) apply(spec, given);
    },
    update: apply,
  };
}

function durationFlag(name: string, usage: string): Flag<number> {
  return valueFlag(name, usage, 'duration', parsePositiveDuration);
}

/** The options of a task besides its container's. */
export const TASK_OPTIONS: ServiceOption[] = [
  ...RESOURCES,
  ...RESTART,
  ...PLACEMENT,
  logDriver(),
  healthcheck(),
  scalarValue(
    'stop-grace-period',
    'duration',
    'Time to wait before force killing a container (ns|us|ms|s|m|h)',
    parseDuration,
    (spec, period) => {
      containerOf(spec).StopGracePeriod = period;
    },
    '10s',
  ),
];
