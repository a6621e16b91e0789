import type { ContainerSpec } from './service-spec.js';

/** Something that only newer engines know: older ones leave it out without a word. */
export interface EngineNeed {
  /** As whoever asked for it knows it. */
  what: string;
  /** The first Docker Engine that knows it, and the minor version of its API 1.x. */
  engineMajor: number;
  apiMinor: number;
}

/** What a container asks of its engine that not every one of them knows. Source: the version history of Docker's Engine API. */
export function engineNeeds({ Healthcheck, Mounts = [] }: ContainerSpec): EngineNeed[] {
  const needs: EngineNeed[] = [];
  const need = (isAsked: boolean | undefined, what: string, engineMajor: number, apiMinor: number): void => {
    if (isAsked) needs.push({ what, engineMajor, apiMinor });
  };
  need((Healthcheck?.StartInterval ?? 0) > 0, '--health-start-interval', 25, 44);
  for (const { BindOptions, VolumeOptions, TmpfsOptions } of Mounts) {
    need(BindOptions?.CreateMountpoint, 'bind mount that makes its source (CreateMountpoint)', 23, 42);
    need(BindOptions?.ReadOnlyNonRecursive, '--mount with bind-recursive=writable', 25, 44);
    need(BindOptions?.ReadOnlyForceRecursive, '--mount with bind-recursive=readonly', 25, 44);
    need((VolumeOptions?.Subpath ?? '') !== '', '--mount with volume-subpath', 26, 45);
    need((TmpfsOptions?.Options ?? []).length > 0, '--mount with tmpfs options', 27, 46);
  }
  return needs;
}
