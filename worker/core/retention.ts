/** A task whose output is kept beyond it. */
export interface KeptTask {
  taskId: string;
  /** `web.1.<task id>` */
  taskName: string;
  serviceId: string;
  serviceName: string;
  /** When it was kept, milliseconds since the epoch. */
  keptAtMs: number;
}

export interface KeptFile extends KeptTask {
  bytes: number;
}

/** Of all that a node keeps. */
export interface RetentionLimits {
  maxAgeMs: number;
  maxBytes: number;
}

/** What a file takes at least on a disk: many that are small are no less of a burden. */
const LEAST_BYTES = 4096;

/** What is to be removed so that the rest is within the limits: what is too old, and then the oldest. */
export function outdated(
  files: readonly KeptFile[],
  { maxAgeMs, maxBytes }: RetentionLimits,
  nowMs: number,
): KeptFile[] {
  const newestFirst = [...files].sort((a, b) => b.keptAtMs - a.keptAtMs || (a.taskId < b.taskId ? -1 : 1));
  let total = 0;
  return newestFirst.filter(({ keptAtMs, bytes }) => {
    if (nowMs - keptAtMs > maxAgeMs) return true;
    total += Math.max(bytes, LEAST_BYTES);
    return total > maxBytes;
  });
}
