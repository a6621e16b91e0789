import type { NodeLoad } from './node-load.js';

/** How amounts and nodes are named to somebody who asks why a task waits. */

export function nodeCount(count: number): string {
  return count === 1 ? '1 node' : `${count} nodes`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1.5 GiB`: four digits at most. */
export function binarySize(bytes: number): string {
  let size = bytes;
  let unit = 0;
  for (; size >= 1024 && unit < UNITS.length - 1; unit++) size /= 1024;
  return `${Number(size.toPrecision(4))} ${UNITS[unit]}`;
}

export function cpus(nanoCpus: number): string {
  return String(Number((nanoCpus / 1e9).toPrecision(4)));
}

/** `largest free 1.5 GiB on h2`. Of nodes that have the same, the first is named. */
export function largestFree(
  need: { free(load: NodeLoad): number; text(amount: number): string },
  loads: readonly NodeLoad[],
): string {
  let largest: { amount: number; load: NodeLoad } | undefined;
  for (const load of loads) {
    // What was promised before the node shrank makes it less than nothing.
    const amount = Math.max(0, need.free(load));
    if (largest === undefined || amount > largest.amount) largest = { amount, load };
  }
  if (largest === undefined) return 'none free';
  const { node } = largest.load;
  return `largest free ${need.text(largest.amount)} on ${node.description?.Hostname ?? node.id}`;
}
