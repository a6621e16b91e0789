import {
  type ContainerSpec,
  expandContainerSpec,
  type HealthConfig,
  type Mount,
  type TemplateFacts,
} from '@apiary/api/model';
import { isImageReference } from './image-reference.js';
import { invalid, quoted } from './refusal.js';

/** What templates are tried with, of no task: a template that asks for a label is refused, as with Docker. */
const NO_TASK: TemplateFacts = {
  service: { id: 'serviceid', name: 'servicename', labels: {} },
  node: { id: 'nodeid', hostname: 'nodeHostname', architecture: 'architecture', os: 'os' },
  task: { id: 'taskid', name: 'taskname', slot: 1 },
};

/**
 * Checks what a container is made of, its templates first.
 *
 * @throws ApiaryError `invalid-argument`, in SwarmKit's or the engine's words where they have some
 */
export function checkContainerSpec(spec: ContainerSpec): void {
  const { Mounts: expandedMounts = [] } = expandContainerSpec(spec, NO_TASK);
  const { Image = '', Mounts = [], StopGracePeriod = 0 } = spec;
  if (Image === '') throw invalid('ContainerSpec: image reference must be provided');
  if (!isImageReference(Image)) throw invalid(`ContainerSpec: ${quoted(Image)} is not a valid repository/tag`);
  checkTargets(expandedMounts);
  checkMounts(Mounts);
  checkHealthcheck(spec.Healthcheck ?? {});
  if (StopGracePeriod < 0) throw invalid('ContainerSpec: StopGracePeriod cannot be negative');
}

function checkTargets(mounts: Mount[]): void {
  const targets = new Set<string>();
  for (const { Target = '' } of mounts) {
    if (targets.has(Target)) throw invalid(`ContainerSpec: duplicate mount point: ${Target}`);
    targets.add(Target);
  }
}

function checkMounts(mounts: Mount[]): void {
  for (const { Type, Source = '', Target = '', TmpfsOptions } of mounts) {
    if (!isAbsolute(Target)) throw invalid(`ContainerSpec: invalid mount target, must be an absolute path: ${Target}`);
    if (Type === 'bind' && !isAbsolute(Source)) {
      throw invalid(`ContainerSpec: invalid bind mount source, must be an absolute path: ${Source}`);
    }
    if (Type === 'volume' && Source.startsWith('/')) {
      throw invalid(`ContainerSpec: invalid volume mount source, must not be an absolute path: ${Source}`);
    }
    if (Type === 'tmpfs' && Source !== '') throw invalid('ContainerSpec: invalid tmpfs source, source must be empty');
    if ((TmpfsOptions?.SizeBytes ?? 0) < 0) throw invalid('ContainerSpec: the size of a tmpfs cannot be negative');
  }
}

/** One that begins with a template is known only on the node. */
function isAbsolute(path: string): boolean {
  return path.startsWith('/') || path.startsWith('{{');
}

const DURATIONS = ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const;
const MILLISECOND_NS = 1e6;

function checkHealthcheck(check: HealthConfig): void {
  for (const key of DURATIONS) {
    const durationNs = check[key] ?? 0;
    if (durationNs !== 0 && durationNs < MILLISECOND_NS) {
      throw invalid(`ContainerSpec: ${key} in HealthConfig cannot be less than 1ms`);
    }
  }
  if ((check.Retries ?? 0) < 0) throw invalid('ContainerSpec: Retries in HealthConfig cannot be negative');
}
