import type { ContainerSpec, HealthConfig, Mount } from '@apiary/api/model';
import { isImageReference } from './image-reference.js';
import { invalid, quoted } from './refusal.js';

/** @throws ApiaryError `invalid-argument`, in SwarmKit's or the engine's words where they have some */
export function checkContainerSpec(spec: ContainerSpec): void {
  const { Image = '', Mounts = [], StopGracePeriod = 0 } = spec;
  if (Image === '') throw invalid('ContainerSpec: image reference must be provided');
  if (!isImageReference(Image)) throw invalid(`ContainerSpec: ${quoted(Image)} is not a valid repository/tag`);
  checkMounts(Mounts);
  checkHealthcheck(spec.Healthcheck ?? {});
  if (StopGracePeriod < 0) throw invalid('ContainerSpec: StopGracePeriod cannot be negative');
}

function checkMounts(mounts: Mount[]): void {
  const targets = new Set<string>();
  for (const { Target = '' } of mounts) {
    if (targets.has(Target)) throw invalid(`ContainerSpec: duplicate mount point: ${Target}`);
    targets.add(Target);
  }
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
