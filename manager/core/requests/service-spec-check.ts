import type { EndpointSpec, Resources, RestartPolicy, ServiceSpec, UpdateConfig } from '@apiary/api/model';
import { parseIp } from '@apiary/overlay-net/core';
import { checkContainerSpec } from './container-spec-check.js';
import { checkReferenceForm, checkReferenceTargets } from './content-references.js';
import { invalid, quoted } from './refusal.js';

/** Above it a slip of the finger is likelier than a wish, and one plan of so many tasks would hold up all others. */
const MAX_REPLICAS = 100_000;
const MAX_NAME_LENGTH = 63;
const NAME = /^[a-zA-Z0-9]+(?:[-_]+[a-zA-Z0-9]+)*$/;

/**
 * Checks a service spec beyond its shape and its words: what SwarmKit checks, in its words, and after it what Docker
 * lets pass although no engine can run it.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function checkServiceSpec(spec: ServiceSpec): void {
  const template = spec.TaskTemplate;
  checkName(spec.Name ?? '');
  checkResources(template.Resources);
  checkRestartPolicy(template.RestartPolicy);
  checkConstraints(spec);
  checkPreferences(spec);
  checkReferenceForm(spec);
  checkContainerSpec(template.ContainerSpec ?? {});
  checkReferenceTargets(spec);
  checkJob(spec);
  checkUpdateConfig(spec.UpdateConfig, 'update');
  checkUpdateConfig(spec.RollbackConfig, 'rollback');
  checkEndpoint(spec.EndpointSpec);
  const replicas = spec.Mode?.Replicated?.Replicas ?? 1;
  if (replicas > MAX_REPLICAS) {
    throw invalid(`Mode.Replicated.Replicas: ${replicas} is more than a service can have: at most ${MAX_REPLICAS}`);
  }
}

function checkName(name: string): void {
  if (name.length > MAX_NAME_LENGTH) throw invalid(`name must be ${MAX_NAME_LENGTH} characters or fewer`);
  if (!NAME.test(name)) throw invalid('name must be valid as a DNS name component');
}

function checkResources(resources: Resources | undefined): void {
  for (const { NanoCPUs = 0, MemoryBytes = 0 } of [resources?.Limits ?? {}, resources?.Reservations ?? {}]) {
    if (NanoCPUs !== 0 && NanoCPUs < 1e6) {
      throw invalid(`invalid cpu value ${goFloat(NanoCPUs / 1e9)}: Must be at least 0.001`);
    }
    if (MemoryBytes !== 0 && MemoryBytes < 4 * 1024 * 1024) {
      throw invalid(`invalid memory value ${MemoryBytes}: Must be at least 4MiB`);
    }
  }
  for (const { NamedResourceSpec, DiscreteResourceSpec } of resources?.Reservations?.GenericResources ?? []) {
    // Docker takes the first and runs no such task ever; which pieces a task gets is for the scheduler to choose.
    if (NamedResourceSpec !== undefined) {
      throw invalid(
        `invalid argument for resource ${NamedResourceSpec.Kind ?? ''}: expected a number of them, not a name`,
      );
    }
    const { Kind = '', Value = 0 } = DiscreteResourceSpec ?? {};
    if (Kind === '' || Value < 0) throw invalid(`invalid argument for resource ${Kind}: expected a kind and 0 or more`);
  }
}

/** A small number as Go prints it: with an exponent, of at least two digits, below 0.0001. */
function goFloat(value: number): string {
  if (Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/e-(\d)$/, 'e-0$1');
}

function checkRestartPolicy({ Delay = 0, Window = 0 }: RestartPolicy = {}): void {
  if (Delay < 0) throw invalid('TaskSpec: restart-delay cannot be negative');
  if (Window < 0) throw invalid('TaskSpec: restart-window cannot be negative');
}

const CONSTRAINT_KEY = /^[a-z_][a-z0-9\-_.]+$/i;
const CONSTRAINT_VALUE = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;

/**
 * Checks the syntax of the placement constraints. SwarmKit gives these faults no status of their own, and Docker
 * answers 500 to them: who answers so too calls this one apart.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function checkConstraints({ TaskTemplate: template }: ServiceSpec): void {
  for (const expression of template.Placement?.Constraints ?? []) {
    const operator = ['==', '!='].find((candidate) => expression.includes(candidate));
    if (operator === undefined) throw invalid('constraint expected one operator from ==, !=');
    const at = expression.indexOf(operator);
    const key = expression.slice(0, at).trim();
    const value = expression.slice(at + operator.length).trim();
    if (!CONSTRAINT_KEY.test(key)) throw invalid(`key '${key}' is invalid`);
    if (!CONSTRAINT_VALUE.test(value)) throw invalid(`value '${value}' is invalid`);
  }
}

function checkPreferences({ TaskTemplate: template }: ServiceSpec): void {
  for (const [i, { Spread }] of (template.Placement?.Preferences ?? []).entries()) {
    const descriptor = Spread?.SpreadDescriptor ?? '';
    if (/^(?:node|engine)\.labels\../i.test(descriptor)) continue;
    throw invalid(
      `TaskTemplate.Placement.Preferences[${i}].Spread.SpreadDescriptor: expected node.labels.<key> or ` +
        `engine.labels.<key>, got ${quoted(descriptor)}`,
    );
  }
}

/** A job is run again as a whole, so that nothing is left for it to say. */
function checkJob({ Mode, UpdateConfig }: ServiceSpec): void {
  const isJob = Mode?.ReplicatedJob !== undefined || Mode?.GlobalJob !== undefined;
  if (isJob && UpdateConfig !== undefined) throw invalid('Jobs may not have an update config');
}

function checkUpdateConfig(config: UpdateConfig | undefined, what: 'update' | 'rollback'): void {
  const { Delay = 0, Monitor = 0, MaxFailureRatio = 0 } = config ?? {};
  if (Delay < 0) throw invalid(`TaskSpec: ${what}-delay cannot be negative`);
  if (Monitor < 0) throw invalid(`TaskSpec: ${what}-monitor cannot be negative`);
  if (MaxFailureRatio < 0 || MaxFailureRatio > 1) {
    throw invalid(`TaskSpec: ${what}-maxfailureratio cannot be less than 0 or bigger than 1`);
  }
}

const MAX_PORT = 65_535;

function checkEndpoint({ Mode, Ports = [] }: EndpointSpec = {}): void {
  const published = new Set<string>();
  for (const { PublishMode = 'ingress', PublishedPort = 0, Protocol = 'tcp' } of Ports) {
    if (Mode === 'dnsrr' && PublishMode === 'ingress') {
      throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
    }
    const port = `${PublishedPort}/${Protocol}`;
    if (PublishedPort !== 0 && published.has(port)) throw invalid('EndpointSpec: duplicate published ports provided');
    published.add(port);
  }
  for (const [i, port] of Ports.entries()) {
    const { PublishMode = 'ingress', PublishedPort = 0, TargetPort = 0, Protocol = 'tcp', HostIP = '' } = port;
    const path = `EndpointSpec.Ports[${i}]`;
    if (TargetPort < 1 || TargetPort > MAX_PORT) {
      throw invalid(`${path}.TargetPort: expected 1 to ${MAX_PORT}, got ${TargetPort}`);
    }
    if (PublishedPort > MAX_PORT) {
      throw invalid(`${path}.PublishedPort: expected 0 to ${MAX_PORT}, got ${PublishedPort}`);
    }
    if (!['tcp', 'udp', 'sctp'].includes(Protocol)) {
      throw invalid(`${path}.Protocol: expected tcp, udp or sctp, got ${quoted(Protocol)}`);
    }
    if (!['ingress', 'host'].includes(PublishMode)) {
      throw invalid(`${path}.PublishMode: expected ingress or host, got ${quoted(PublishMode)}`);
    }
    // That of no host: without one it is at all of both families.
    if (HostIP !== '' && (parseIp(HostIP)?.value ?? 0n) === 0n && HostIP !== '0.0.0.0') {
      throw invalid(`${path}.HostIP: expected an address of hosts, got ${quoted(HostIP)}`);
    }
  }
}
