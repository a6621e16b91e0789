import type { ServiceSpec } from '@apiary/api/model';
import { sizeBytes } from '../canonical/quantity.js';
import type { Diagnostics } from '../document/diagnostic.js';
import type { MapNode } from '../document/node.js';
import {
  byCodePoint,
  convertCapabilities,
  convertDns,
  convertEnvironment,
  convertHealthcheck,
  convertHosts,
  convertPrivileges,
  convertUlimits,
  positiveNs,
} from './container.js';
import { type ContentSource, convertContents } from './contents.js';
import { convertDependencies } from './dependencies.js';
import {
  convertEndpoint,
  convertMode,
  convertPlacement,
  convertResources,
  convertRestartPolicy,
  convertUpdateConfig,
} from './deployment.js';
import { Fields, given } from './fields.js';
import { warnOfIgnoredKeys } from './ignored-keys.js';
import { taggedImage } from './image-name.js';
import { convertMounts } from './mounts.js';
import { convertNetworks, isUserDefined, networkKeys, networkName } from './networks.js';
import { convertConfigReferences, convertSecretReferences } from './references.js';
import { type Dependency, IMAGE_LABEL, labelled, type Stack, type StackService, scoped } from './stack.js';

export interface ConvertOptions extends ContentSource {
  /** The stack's name. */
  name: string;
  /** Whether the cluster honours what Docker's does not. */
  isApiary: boolean;
}

/** The label under which a service carries what its tasks wait for: `SERVICE:CONDITION[:update]`, with commas between. */
export const DEPENDS_ON_LABEL = 'com.apiary.depends-on';

/**
 * Makes the Engine API's bodies of a project, those that `docker stack deploy` makes. What is wrong in its meaning is
 * reported, all of it.
 */
export function convertStack(root: MapNode, options: ConvertOptions, diagnostics: Diagnostics): Stack {
  const project = Fields.of(root, diagnostics);
  const { name: stack } = options;
  const { own, external } = convertNetworks(stack, project);
  const dependencies = convertDependencies(project);
  const services = project
    .each('services')
    .sort((a, b) => byCodePoint(a.name, b.name))
    .map((service) => convertService(stack, service, project, dependencies, options.isApiary));
  refuseDoublePublishedPorts(project, services);
  return {
    name: stack,
    networks: own,
    externalNetworks: external,
    secrets: convertContents('secret', stack, project, options),
    configs: convertContents('config', stack, project, options),
    services,
  };
}

function convertService(
  stack: string,
  service: Fields,
  project: Fields,
  dependencies: ReadonlyMap<string, Dependency[]>,
  isApiary: boolean,
): StackService {
  warnOfIgnoredKeys(service, isApiary);
  const deploy = service.in('deploy');
  const dependsOn = dependencies.get(service.name) ?? [];
  const written = dependsOn
    .map(({ service: on, condition, onUpdate }) => `${scoped(stack, on)}:${condition}${onUpdate ? ':update' : ''}`)
    .sort();
  const spec: ServiceSpec = given({
    Name: scoped(stack, service.name),
    Labels: {
      ...labelled(stack, deploy.texted('labels')),
      [IMAGE_LABEL]: service.text('image') ?? '',
      ...(isApiary && written.length > 0 && { [DEPENDS_ON_LABEL]: written.join(',') }),
    },
    TaskTemplate: given({
      ContainerSpec: containerSpec(stack, service, project, isApiary),
      LogDriver: service.has('logging')
        ? given({ Name: service.in('logging').text('driver'), Options: service.in('logging').texted('options') })
        : undefined,
      Resources: convertResources(deploy),
      RestartPolicy: convertRestartPolicy(service) ?? ofAwaited(service, dependencies),
      Placement: convertPlacement(deploy),
      Networks: convertAttachments(stack, service, project),
      ForceUpdate: 0,
    }),
    Mode: convertMode(service),
    UpdateConfig: convertUpdateConfig(deploy, 'update_config'),
    RollbackConfig: convertUpdateConfig(deploy, 'rollback_config'),
    EndpointSpec: convertEndpoint(service),
  });
  return { key: service.name, spec, dependsOn };
}

/** A service whose completion others wait for is not started again when it has ended well. */
function ofAwaited(service: Fields, dependencies: ReadonlyMap<string, Dependency[]>) {
  const isAwaited = [...dependencies.values()]
    .flat()
    .some((one) => one.service === service.name && one.condition === 'service_completed_successfully');
  if (!isAwaited) return undefined;
  return { Condition: service.text('restart') === 'no' ? 'none' : 'on-failure' };
}

function containerSpec(stack: string, service: Fields, project: Fields, isApiary: boolean) {
  const secrets = convertSecretReferences(stack, service, project);
  const configs = convertConfigReferences(stack, service, project);
  const mounts = convertMounts(stack, service, project.in('volumes'));
  const shmBytes = shmSize(service);
  if (isApiary && shmBytes !== undefined && !mounts.some(({ Target }) => Target === '/dev/shm')) {
    mounts.push({ Type: 'tmpfs', Target: '/dev/shm', TmpfsOptions: { SizeBytes: shmBytes } });
  }
  refuseDoubleTargets(
    service,
    mounts.map(({ Target = '' }) => Target),
  );
  return given({
    Image: imageOf(service),
    Command: nonEmpty(service.texts('entrypoint')),
    Args: nonEmpty(service.texts('command')),
    Hostname: service.text('hostname'),
    Hosts: convertHosts(service),
    DNSConfig: convertDns(service),
    Healthcheck: convertHealthcheck(service),
    Env: convertEnvironment(service),
    Labels: labelled(stack, service.texted('labels')),
    Dir: service.text('working_dir'),
    User: service.text('user'),
    Groups: nonEmpty(service.texts('group_add')),
    Mounts: nonEmpty(mounts),
    StopGracePeriod: positiveNs(service, 'stop_grace_period'),
    StopSignal: service.text('stop_signal'),
    TTY: service.flag('tty') || undefined,
    OpenStdin: service.flag('stdin_open') || undefined,
    ReadOnly: service.flag('read_only') || undefined,
    Secrets: nonEmpty(secrets),
    Configs: nonEmpty(configs),
    Privileges: convertPrivileges(service),
    Isolation: service.text('isolation'),
    Init: service.flag('init'),
    Sysctls: service.texted('sysctls'),
    ...convertCapabilities(service),
    Ulimits: convertUlimits(service),
    OomScoreAdj: isApiary ? service.number('oom_score_adj') : undefined,
  });
}

function shmSize(service: Fields): number | undefined {
  const text = service.text('shm_size');
  const bytes = text === undefined ? undefined : sizeBytes(text);
  if (text !== undefined && bytes === undefined)
    service.warn(`${JSON.stringify(text)} is no size such as 64M`, 'shm_size');
  return bytes;
}

function imageOf(service: Fields): string | undefined {
  const image = service.text('image');
  if (image === undefined) {
    const builds = service.has('build') ? ': it is not built here; build it, push it, and name it' : ': name one';
    service.error(`service "${service.name}" has no image${builds}`);
    return undefined;
  }
  const tagged = taggedImage(image);
  if ('name' in tagged) return tagged.name;
  service.error(tagged.fault, 'image');
  return image;
}

function convertAttachments(stack: string, service: Fields, project: Fields) {
  const known = project.in('networks');
  const attachments = networkKeys(service).flatMap((key) => {
    if (known.raw(key) === undefined && key !== 'default') {
      service.error(`undefined network "${key}": name it in the top-level networks`, 'networks', key);
      return [];
    }
    const own = service.in('networks').in(key);
    const Target = networkName(stack, key, known.in(key));
    const aliases = [...(own.texts('aliases') ?? []), ...(isUserDefined(Target) ? [service.name] : [])];
    return [given({ Target, Aliases: nonEmpty(aliases), DriverOpts: own.texted('driver_opts') })];
  });
  return attachments.sort((a, b) => byCodePoint(a.Target, b.Target));
}

function refuseDoubleTargets(service: Fields, targets: readonly string[]): void {
  const seen = new Set<string>();
  for (const target of targets) {
    const clean = target.replace(/(.)\/+$/, '$1');
    if (seen.has(clean)) service.error(`two mounts have the target ${JSON.stringify(clean)}`, 'volumes');
    seen.add(clean);
  }
}

/** A port of the cluster leads to one service. */
function refuseDoublePublishedPorts(project: Fields, services: readonly StackService[]): void {
  const seen = new Map<string, string>();
  for (const { key, spec } of services) {
    const own = new Set<string>();
    for (const { PublishedPort, Protocol = 'tcp', PublishMode = 'ingress' } of spec.EndpointSpec?.Ports ?? []) {
      if (PublishedPort === undefined || PublishMode !== 'ingress') continue;
      const port = `${PublishedPort}/${Protocol}`;
      const other = seen.get(port);
      if (other !== undefined) {
        project.in('services').in(key).error(`port ${port} is published by service "${other}" too`, 'ports');
      } else own.add(port);
    }
    for (const port of own) seen.set(port, key);
  }
}

function nonEmpty<T>(items: T[] | undefined): T[] | undefined {
  return items === undefined || items.length === 0 ? undefined : items;
}
