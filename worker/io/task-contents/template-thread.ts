import { parentPort, workerData } from 'node:worker_threads';
import { expandContent } from '@apiary/api/model';
import { messageOf } from '@apiary/std';
import type { ExpansionOrder, ExpansionOutcome } from './template-expansion.js';

/** Runs in a thread of its own: expands the templates that it was started with, says what came of it, and ends. */

function expand({ files, facts, env }: ExpansionOrder): ExpansionOutcome {
  const textOf = (kind: string, target: string): string => {
    const file = files.find((each) => each.kind === kind && each.target === target);
    if (file === undefined) throw new Error(`${kind} target ${Buffer.from(target, 'latin1').toString()} not found`);
    return Buffer.from(file.data).toString('latin1');
  };
  const functions = {
    secret: (target: string) => textOf('secret', target),
    config: (target: string) => textOf('config', target),
    env: (name: string) => new Map(env).get(name) ?? '',
  };
  const expanded: (SharedArrayBuffer | undefined)[] = [];
  for (const { kind, name, isTemplate, data } of files) {
    if (!isTemplate) {
      expanded.push(undefined);
      continue;
    }
    try {
      const text = expandContent(Buffer.from(data).toString('latin1'), facts, functions);
      const bytes = new SharedArrayBuffer(text.length);
      Buffer.from(bytes).write(text, 'latin1');
      expanded.push(bytes);
    } catch (error) {
      for (const bytes of expanded) if (bytes !== undefined) new Uint8Array(bytes).fill(0);
      return { fault: `${kind} "${name}": ${messageOf(error)}` };
    }
  }
  return { expanded };
}

parentPort?.postMessage(expand(workerData as ExpansionOrder));
