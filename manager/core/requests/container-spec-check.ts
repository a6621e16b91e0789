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
  checkTmpfsSizes(Mounts);
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

/** Paths are the node's to check, where templates in them are known, and Docker's managers let all of them pass. */
function checkTmpfsSizes(mounts: Mount[]): void {
  for (const { TmpfsOptions } of mounts) {
    if ((TmpfsOptions?.SizeBytes ?? 0) < 0) throw invalid('ContainerSpec: the size of a tmpfs cannot be negative');
  }
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
