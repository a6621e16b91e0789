import { createHash } from 'node:crypto';
import { median } from '../statistics.js';

const RUNS = 3;
const HASHED_BYTES = 64 * 1024 * 1024;
const RECORDS = 300_000;

/**
 * What this machine does with work that is nothing of ours, so that figures of two machines can be compared: one line,
 * to be printed beside them. Takes about two seconds.
 */
export function calibration(): string {
  const hash = median(Array.from({ length: RUNS }, () => secondsOf(hashing)));
  const records = median(Array.from({ length: RUNS }, () => secondsOf(recordKeeping)));
  const mib = HASHED_BYTES / 1024 / 1024;
  return (
    `this machine: SHA-256 of ${mib} MiB in ${hash.toFixed(3)} s, ` +
    `${RECORDS} records made, kept by key and sorted in ${records.toFixed(3)} s (one core each)`
  );
}

function hashing(): void {
  createHash('sha256').update(Buffer.alloc(HASHED_BYTES)).digest();
}

function recordKeeping(): void {
  const byKey = new Map<string, { key: string; at: number }>();
  for (let at = 0; at < RECORDS; at++) {
    const key = Math.imul(at, 0x9e3779b1).toString(36);
    byKey.set(key, { key, at });
  }
  [...byKey.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** How long one call takes. */
export function secondsOf(work: () => void): number {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
}
