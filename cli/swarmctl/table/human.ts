import type { Task } from '@apiary/api/model';

/** How long a span is, roughly, in the words of Docker's lists. @param ms  milliseconds */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(seconds / 3600 + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(seconds / 3600 / 24 / 365)} years`;
}

/** Milliseconds between a time that the API gave and now. */
export function ageMs(time: string | undefined, nowMs: number): number {
  const at = time === undefined ? Number.NaN : Date.parse(time);
  return Number.isNaN(at) ? 0 : nowMs - at;
}

/** A duration as Go prints it: `1h30m0s`, `1.5s`, `0s`. */
export function goDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return '0s';
  const sign = nanoseconds < 0 ? '-' : '';
  const rest = Math.abs(nanoseconds);
  if (rest < 1e3) return `${sign}${rest}ns`;
  if (rest < 1e6) return `${sign}${rest / 1e3}µs`;
  if (rest < 1e9) return `${sign}${rest / 1e6}ms`;
  const hours = Math.floor(rest / 3600e9);
  const minutes = Math.floor((rest % 3600e9) / 60e9);
  const seconds = (rest % 60e9) / 1e9;
  const head = hours > 0 ? `${hours}h${minutes}m` : minutes > 0 ? `${minutes}m` : '';
  return `${sign}${head}${seconds}s`;
}

/** A size with four digits at most and a binary unit: `512MiB`, `1.953GiB`. */
export function humanBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let size = bytes;
  let unit = 0;
  for (; size >= 1024 && unit < units.length - 1; unit++) size /= 1024;
  return `${Number(size.toPrecision(4))}${units[unit]}`;
}

/** The first letter made a capital, as Docker shows states. */
export function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What ails a task: of one that waits for a node, every node's reason, and not only Docker's words for them. */
export function taskError({ Err = '', Reasons = [] }: Pick<Task['Status'], 'Err' | 'Reasons'>): string {
  return Reasons.length === 0 ? Err : `no suitable node (${Reasons.join('; ')})`;
}

/** An id as lists show it. */
export function shortId(id: string): string {
  return id.slice(id.indexOf(':') + 1).slice(0, 12);
}

/** Compares as people sort: numbers within texts by their value. */
export function compareNaturally(a: string, b: string): number {
  const [left, right] = [chunksOf(a), chunksOf(b)];
  for (const [i, chunk] of left.entries()) {
    const other = right[i];
    if (other === undefined) return 1;
    const bothNumbers = /^\d/.test(chunk) && /^\d/.test(other);
    const difference = bothNumbers ? Number(chunk) - Number(other) : 0;
    if (difference !== 0) return difference;
    if (chunk !== other) return chunk < other ? -1 : 1;
  }
  return left.length - right.length;
}

function chunksOf(text: string): string[] {
  return text.match(/\d+|\D+/g) ?? [];
}
