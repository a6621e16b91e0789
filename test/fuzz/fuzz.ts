import { invariant } from '@apiary/std';
import * as fc from 'fast-check';
import { AGENT_TARGET } from './agent-target.js';
import { DOOR_TARGETS } from './door-target.js';
import { DRIVER_TARGET } from './driver-target.js';
import { HTTP_TARGET } from './http-target.js';
import { LOG_STREAM_TARGET } from './log-stream-target.js';
import { LOG_TARGETS } from './log-targets.js';
import { NAME_SERVER_TARGETS } from './name-server-target.js';
import { RPC_TARGET } from './rpc-target.js';
import { SNAPSHOT_TARGET } from './snapshot-target.js';
import type { Target, Verdict } from './target.js';
import { TEXT_TARGETS } from './text-targets.js';

/** Everything that reads what others say. */
export const TARGETS: readonly Target[] = [
  ...TEXT_TARGETS,
  ...LOG_TARGETS,
  SNAPSHOT_TARGET,
  ...NAME_SERVER_TARGETS,
  AGENT_TARGET,
  DRIVER_TARGET,
  RPC_TARGET,
  LOG_STREAM_TARGET,
  HTTP_TARGET,
  ...DOOR_TARGETS,
];

/** Longer than this for one input is a hang, on a machine that does other things besides. */
const LONGEST_MS = 20_000;
/** What the heap may grow by from the middle of a target's inputs to their end, once all that can be has been freed. */
const MOST_GROWTH_BYTES = 48 * 1024 * 1024;

export interface Outcome {
  name: string;
  counts: Record<Verdict, number>;
  slowestMs: number;
  /** Of the second half; undefined when the process was not started with `--expose-gc`. */
  growthBytes: number | undefined;
}

/**
 * Gives a target its share of `inputs` inputs, drawn from `seed`.
 *
 * @throws Error that has the input, and the seed and path to draw it again, when one does harm
 */
export async function fuzz(target: Target, { seed, inputs }: { seed: number; inputs: number }): Promise<Outcome> {
  const whole = TARGETS.reduce((sum, { share }) => sum + share, 0);
  const numRuns = Math.max(1, Math.ceil((inputs * target.share) / whole));
  const counts = { taken: 0, refused: 0 };
  const { property, close } = await target.open();
  let slowestMs = 0;
  let halfBytes: number | undefined;
  const check = async (work: () => Verdict | Promise<Verdict>): Promise<void> => {
    const startMs = performance.now();
    counts[await work()]++;
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    if (counts.taken + counts.refused === Math.floor(numRuns / 2)) halfBytes = heapBytes();
  };
  try {
    await fc.assert(fc.asyncProperty(property, check), { seed, numRuns, timeout: LONGEST_MS, endOnFailure: true });
    invariant(slowestMs < LONGEST_MS, `${target.name}: an input took ${slowestMs.toFixed(0)} ms`);
    const endBytes = heapBytes();
    const growthBytes = endBytes === undefined || halfBytes === undefined ? undefined : endBytes - halfBytes;
    invariant((growthBytes ?? 0) < MOST_GROWTH_BYTES, `${target.name}: memory grew by ${growthBytes} bytes`);
    return { name: target.name, counts, slowestMs, growthBytes };
  } finally {
    await close();
  }
}

function heapBytes(): number | undefined {
  if (globalThis.gc === undefined) return undefined;
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
