import type { ServiceSpec } from '@apiary/api/model';

/** Docker's `UpdateConfig` with its defaults filled in. Durations in milliseconds. */
export interface RolloutPolicy {
  /** Slots that may be under way at once. */
  parallelism: number;
  delayMs: number;
  monitorMs: number;
  failureAction: 'pause' | 'continue' | 'rollback';
  maxFailureRatio: number;
  startFirst: boolean;
}

const DEFAULT_MONITOR_MS = 5_000;

/**
 * @param rollingBack whether the service is rolled back, which has a configuration of its own
 * @returns defaults as Docker has them: one slot at a time when there is no configuration, all at once when there is
 *          one that says nothing (or 0) about parallelism
 */
export function rolloutPolicyOf(spec: ServiceSpec, rollingBack: boolean): RolloutPolicy {
  const config = rollingBack ? spec.RollbackConfig : spec.UpdateConfig;
  const parallelism = config === undefined ? 1 : (config.Parallelism ?? 0);
  const action = config?.FailureAction;
  return {
    parallelism: parallelism === 0 ? Number.POSITIVE_INFINITY : parallelism,
    delayMs: (config?.Delay ?? 0) / 1e6,
    monitorMs: config?.Monitor ? config.Monitor / 1e6 : DEFAULT_MONITOR_MS,
    failureAction: action === 'continue' || action === 'rollback' ? action : 'pause',
    maxFailureRatio: config?.MaxFailureRatio ?? 0,
    startFirst: config?.Order === 'start-first',
  };
}
