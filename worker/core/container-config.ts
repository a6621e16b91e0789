import {
  type ContainerSpec,
  contentKey,
  contentReferences,
  engineNeeds,
  expandContainerSpec,
  genericResourceEnv,
  type Mount,
  type TaskTemplate,
  type TemplateFacts,
  targetPath,
} from '@apiary/api/model';
import type { HostEntry } from '@apiary/overlay-net/core';
import { ApiaryError } from '@apiary/std';
import type { AssignedTask } from './assignments.js';
import {
  type ContainerConfig,
  type ContentFile,
  GATEWAY_FILES,
  type GatewayFile,
  type GatewayWish,
  TASK_LABELS,
} from './container.js';
import { hostPortsOf } from './host-ports.js';
import { familiarReference } from './image-reference.js';

/** What a task's templates may ask of the node that runs it. */
export interface NodeFacts {
  id: string;
  hostname: string;
  platform: { Architecture: string; OS: string };
}

/** `<service>.<slot>.<task id>`; a task of a global service has its node's id for a slot. */
export function taskNameOf(task: AssignedTask, nodeId: string): string {
  return `${task.serviceName}.${task.slot > 0 ? task.slot : nodeId}.${task.id}`;
}

/**
 * What the engine is told to create for a task, as Docker Swarm's own executor tells it (Docker 20.10, compared
 * field by field on running tasks). Reservations are the scheduler's business, and ingress ports the cluster's.
 *
 * @throws ApiaryError `invalid-argument` for a template that cannot be expanded, `unimplemented` for what a container
 *   cannot be given yet
 */
export function containerConfigOf(task: AssignedTask, node: NodeFacts): ContainerConfig {
  const given = task.template.ContainerSpec ?? {};
  refuseUnsupported(task, given);
  const name = taskNameOf(task, node.id);
  const facts: TemplateFacts = {
    service: { id: task.serviceId, name: task.serviceName, labels: task.serviceLabels },
    node: { id: node.id, hostname: node.hostname, architecture: node.platform.Architecture, os: node.platform.OS },
    task: { id: task.id, name, slot: task.slot },
  };
  const spec = expandContainerSpec(given, facts);
  checkMounts(spec.Mounts ?? []);
  const { Isolation = '' } = spec;
  if (Isolation !== '' && Isolation !== 'default') throw invalid(`invalid isolation '${Isolation}' on linux`);
  const files = contentFiles(given, task.contentIds);
  const ports = hostPortsOf(task.endpoint).map(({ protocol, targetPort, publishedPort, hostAddress }) => ({
    key: `${targetPort}/${protocol}`,
    // Empty: the engine picks one.
    hostPort: publishedPort > 0 ? String(publishedPort) : '',
    hostAddress,
  }));
  const body = {
    ...only({
      Hostname: spec.Hostname,
      User: spec.User,
      Tty: spec.TTY,
      OpenStdin: spec.OpenStdin,
      Env: nonEmpty([...(spec.Env ?? []), ...genericResourceEnv(task.genericResources ?? [])]),
      Entrypoint: nonEmpty(spec.Command),
      Cmd: nonEmpty(spec.Args),
      Healthcheck: spec.Healthcheck,
      WorkingDir: spec.Dir,
      StopSignal: spec.StopSignal,
    }),
    Image: familiarReference(spec.Image ?? ''),
    Labels: { ...spec.Labels, ...taskLabels(task, node.id, name) },
    ...(ports.length > 0 && { ExposedPorts: Object.fromEntries(ports.map(({ key }) => [key, {}])) }),
    HostConfig: { ...hostConfig(task.template, spec, ports), ...engineNetwork(task) },
  };
  const gateway = gatewayWish(task, spec, files);
  const needs = engineNeeds(spec);
  return {
    name,
    taskId: task.id,
    body,
    ...(needs.length > 0 && { engineNeeds: needs }),
    ...(gateway !== undefined && { gateway }),
    ...(files.length > 0 && { contents: { files, facts, env: given.Env ?? [] } }),
  };
}

/** The engine's own network that a task asks for by name. */
function engineNetwork({ networks = [], endpoint }: AssignedTask): { NetworkMode: string } | undefined {
  const named = networks.find((network) => network.engineNetwork !== '');
  if (named === undefined) return undefined;
  // For Docker, what is published with the cluster is on one more network.
  const isPublished = (endpoint?.Ports ?? []).some(({ PublishMode = 'ingress' }) => PublishMode === 'ingress');
  if (named.engineNetwork === 'host' && (networks.length > 1 || isPublished)) {
    const words = 'container cannot be disconnected from host network or connected to host network';
    throw new ApiaryError('failed-precondition', words);
  }
  if (networks.length === 1) return { NetworkMode: named.engineNetwork };
  throw new ApiaryError('unimplemented', `network "${named.name}" is the engine's: a task on it can be on no other`);
}

/** Undefined for one on a network of the engine's, or without a place for us to mount at. */
function gatewayWish(
  task: AssignedTask,
  spec: ContainerSpec,
  contentFiles: readonly ContentFile[],
): GatewayWish | undefined {
  const networks = task.networks ?? [];
  if (networks.some((network) => network.engineNetwork !== '')) return undefined;
  const mounted = new Set(spec.Mounts?.map(({ Target = '' }) => Target.replace(/\/+$/, '')));
  for (const { path } of contentFiles) mounted.add(path);
  const files = (Object.keys(GATEWAY_FILES) as GatewayFile[]).filter((file) => !mounted.has(GATEWAY_FILES[file]));
  if (files.length === 0) {
    const [overlay] = networks;
    if (overlay === undefined) return undefined;
    const what = 'a task that mounts both /etc/hosts and /etc/resolv.conf itself';
    throw new ApiaryError('unimplemented', `${what} cannot be on network "${overlay.name}"`);
  }
  const { Nameservers = [], Search = [], Options = [] } = spec.DNSConfig ?? {};
  return {
    hostname: spec.Hostname ?? '',
    hosts: spec.Hosts?.flatMap(hostEntries) ?? [],
    dns: { nameservers: Nameservers, search: Search, options: Options },
    networks: networks.map(({ name: _name, engineNetwork: _engine, ...attachment }) => attachment),
    ports: hostPortsOf(task.endpoint),
    isPublished: (task.endpoint?.Ports ?? []).length > 0,
    files,
  };
}

/** Docker's file mode of what names none: everybody in the container may read it. */
const DEFAULT_MODE = 0o444;

/** @param contentIds  the versions of the names that are followed */
function contentFiles(spec: ContainerSpec, contentIds: Readonly<Record<string, string>> = {}): ContentFile[] {
  return contentReferences(spec).map(({ kind, id, name, file }) => ({
    kind,
    name,
    contentId: id ?? contentIds[contentKey(kind, name)],
    target: file?.Name ?? '',
    path: targetPath(kind, file?.Name ?? ''),
    uid: Number(file?.UID || 0),
    gid: Number(file?.GID || 0),
    mode: file?.Mode ?? DEFAULT_MODE,
  }));
}

function hostConfig(
  template: TaskTemplate,
  spec: ContainerSpec,
  ports: { key: string; hostPort: string; hostAddress: string | undefined }[],
): Record<string, unknown> {
  const { Limits = {} } = template.Resources ?? {};
  // No restart policy: whether a task runs again is for the managers to say, on whatever node.
  const bindings: Record<string, { HostPort: string }[]> = {};
  for (const { key, hostPort, hostAddress } of ports) {
    const binding = { HostPort: hostPort, ...(hostAddress !== undefined && { HostIp: hostAddress }) };
    bindings[key] = [...(bindings[key] ?? []), binding];
  }
  return {
    ...only({
      Init: spec.Init,
      Isolation: 'default',
      ReadonlyRootfs: spec.ReadOnly,
      GroupAdd: spec.Groups,
      CapAdd: spec.CapabilityAdd,
      CapDrop: spec.CapabilityDrop,
      Sysctls: spec.Sysctls,
      Ulimits: spec.Ulimits,
      OomScoreAdj: spec.OomScoreAdj,
      Dns: spec.DNSConfig?.Nameservers,
      DnsSearch: spec.DNSConfig?.Search,
      DnsOptions: spec.DNSConfig?.Options,
      ExtraHosts: spec.Hosts?.flatMap((entry) => hostEntries(entry).map(({ name, address }) => `${name}:${address}`)),
      NanoCpus: positive(Limits.NanoCPUs),
      Memory: positive(Limits.MemoryBytes),
      PidsLimit: positive(Limits.Pids),
      Mounts: spec.Mounts?.map((mount) => ({ ...mount, Type: mount.Type || 'bind' })),
      SecurityOpt: nonEmpty(securityOptions(spec.Privileges)),
      LogConfig: template.LogDriver && {
        Type: template.LogDriver.Name ?? '',
        Config: template.LogDriver.Options ?? {},
      },
    }),
    ...(ports.length > 0 && { PortBindings: bindings }),
  };
}

function taskLabels(task: AssignedTask, nodeId: string, name: string): Record<string, string> {
  return {
    [TASK_LABELS.nodeId]: nodeId,
    [TASK_LABELS.serviceId]: task.serviceId,
    [TASK_LABELS.serviceName]: task.serviceName,
    [TASK_LABELS.task]: '',
    [TASK_LABELS.taskId]: task.id,
    [TASK_LABELS.taskName]: name,
  };
}

function refuseUnsupported({ template, networks = [] }: AssignedTask, spec: ContainerSpec): void {
  const asked = [
    [template.PluginSpec !== undefined, 'PluginSpec'],
    [template.NetworkAttachmentSpec !== undefined, 'NetworkAttachmentSpec'],
    [(template.Networks ?? []).length > networks.length, 'Networks'],
    [spec.Privileges?.CredentialSpec?.Config !== undefined, 'ContainerSpec.Privileges.CredentialSpec.Config'],
  ] as const;
  for (const [isAsked, key] of asked) {
    if (isAsked) throw new ApiaryError('unimplemented', `${key} is not supported by this version: remove it`);
  }
}

/** @throws ApiaryError `invalid-argument`, in the words of SwarmKit's executor; of a type that the engine has not got, in its own */
function checkMounts(mounts: readonly Mount[]): void {
  for (const { Type = '', Source = '', Target = '' } of mounts) {
    const isAbsolute = Source.startsWith('/');
    if (!Target.startsWith('/')) throw invalid(`invalid mount target, must be an absolute path: ${Target}`);
    if ((Type === 'bind' || Type === '') && !isAbsolute) {
      throw invalid(`invalid bind mount source, must be an absolute path: ${Source}`);
    }
    if (Type === 'volume' && isAbsolute) {
      throw invalid(`invalid volume mount source, must not be an absolute path: ${Source}`);
    }
    if (Type === 'tmpfs' && Source !== '') throw invalid('invalid tmpfs source, source must be empty');
    if (Type === 'npipe') throw invalid('invalid mount config for type "npipe": mount type unknown');
  }
}

function invalid(words: string): ApiaryError {
  return new ApiaryError('invalid-argument', words);
}

/** Of `ADDRESS NAME [NAME...]`, as in /etc/hosts, one for each name. */
function hostEntries(entry: string): HostEntry[] {
  const [address = '', ...names] = entry.trim().split(/\s+/);
  return names.map((name) => ({ name, address }));
}

function securityOptions(privileges: ContainerSpec['Privileges']): string[] {
  const { SELinuxContext, Seccomp, AppArmor, NoNewPrivileges, CredentialSpec } = privileges ?? {};
  const options: string[] = [];
  if (SELinuxContext?.Disable) options.push('label=disable');
  for (const [key, value] of [
    ['user', SELinuxContext?.User],
    ['role', SELinuxContext?.Role],
    ['type', SELinuxContext?.Type],
    ['level', SELinuxContext?.Level],
  ]) {
    if (value) options.push(`label=${key}:${value}`);
  }
  if (Seccomp?.Mode === 'unconfined') options.push('seccomp=unconfined');
  // Profile is a Go byte slice: base64 in JSON.
  if (Seccomp?.Mode === 'custom') options.push(`seccomp=${decodeBase64(Seccomp.Profile ?? '')}`);
  if (AppArmor?.Mode === 'disabled') options.push('apparmor=unconfined');
  if (NoNewPrivileges) options.push('no-new-privileges=true');
  if (CredentialSpec?.File) options.push(`credentialspec=file://${CredentialSpec.File}`);
  if (CredentialSpec?.Registry) options.push(`credentialspec=registry://${CredentialSpec.Registry}`);
  return options;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** UTF-8 text out of base64. (A core has neither `Buffer` nor `atob`.) */
function decodeBase64(text: string): string {
  let escaped = '';
  let bits = 0;
  let held = 0;
  for (const char of text.replace(/[=\s]/g, '')) {
    const value = BASE64.indexOf(char);
    if (value < 0) throw new ApiaryError('invalid-argument', 'Privileges.Seccomp.Profile: not base64');
    bits = (bits << 6) | value;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    escaped += `%${((bits >> held) & 0xff).toString(16).padStart(2, '0')}`;
    bits &= (1 << held) - 1;
  }
  try {
    return decodeURIComponent(escaped);
  } catch (error) {
    throw new ApiaryError('invalid-argument', 'Privileges.Seccomp.Profile: not UTF-8', { cause: error });
  }
}

function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}

function nonEmpty(list: string[] | undefined): string[] | undefined {
  return list !== undefined && list.length > 0 ? list : undefined;
}

/** The entries that have a value: what is not asked for stays the engine's or the image's to choose. */
function only(entries: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined));
}
