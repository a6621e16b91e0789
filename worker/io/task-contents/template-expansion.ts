import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { ContentKind, TemplateFacts } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';

/** Texts in it are bytes, each as the character of its number: templates and contents are whatever bytes they are. */
export interface ExpansionOrder {
  files: {
    kind: ContentKind;
    /** For people, as it is. */
    name: string;
    target: string;
    isTemplate: boolean;
    data: SharedArrayBuffer;
  }[];
  facts: TemplateFacts;
  env: [name: string, value: string][];
}

/** For each file what it expands to, undefined of what is no template; or what is wrong with one. */
export type ExpansionOutcome = { expanded: (SharedArrayBuffer | undefined)[] } | { fault: string };

/** What one template may make: all that is written is written to memory. */
const LARGEST_BYTES = 4 * 1024 * 1024;

/** A file with its contents, whose memory can be wiped. */
export interface PlainFile {
  kind: ContentKind;
  name: string;
  target: string;
  isTemplate: boolean;
  data: Uint8Array;
}

/**
 * Expands the templates among a task's files, each of which may ask for the others. What it returns is the caller's to
 * wipe.
 *
 * @param env  `NAME=VALUE`, of which the first of a name counts
 * @throws ApiaryError `invalid-argument` in the template's words
 */
export async function expandTemplates(
  files: readonly PlainFile[],
  facts: TemplateFacts,
  env: readonly string[],
): Promise<Uint8Array[]> {
  const order: ExpansionOrder = {
    files: files.map(({ data, target, ...file }) => ({ ...file, target: asBytes(target), data: shared(data) })),
    facts: JSON.parse(asBytes(JSON.stringify(facts))),
    env: env
      .filter((entry) => entry.includes('='))
      .map((entry): [string, string] => [
        asBytes(entry.slice(0, entry.indexOf('='))),
        asBytes(entry.slice(entry.indexOf('=') + 1)),
      ])
      .reverse(),
  };
  try {
    const outcome = await inThread(order);
    if ('fault' in outcome) throw new ApiaryError('invalid-argument', outcome.fault);
    const results = outcome.expanded.map((bytes, i) => (bytes === undefined ? files[i]?.data : new Uint8Array(bytes)));
    const tooLarge = files.find((_, i) => (results[i]?.length ?? 0) > LARGEST_BYTES);
    if (tooLarge !== undefined) {
      for (const result of results) result?.fill(0);
      const { kind, name } = tooLarge;
      throw new ApiaryError('invalid-argument', `${kind} "${name}": it expands to more than ${LARGEST_BYTES} bytes`);
    }
    return results.map((result) => result ?? new Uint8Array());
  } finally {
    for (const { data } of order.files) new Uint8Array(data).fill(0);
  }
}

async function inThread(order: ExpansionOrder): Promise<ExpansionOutcome> {
  const thread = new Worker(new URL('./template-thread.js', import.meta.url), { workerData: order });
  // Also when it fails: what it has in memory goes with it.
  const ended = once(thread, 'exit');
  try {
    const [outcome] = (await once(thread, 'message')) as [ExpansionOutcome];
    return outcome;
  } finally {
    void thread.terminate();
    await ended;
  }
}

function shared(data: Uint8Array): SharedArrayBuffer {
  const copy = new SharedArrayBuffer(data.length);
  new Uint8Array(copy).set(data);
  return copy;
}

function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}
