import type { ApiClient } from '@apiary/api/client';
import { CommandError } from './context.js';

export interface LogStyle {
  withTimestamps: boolean;
  withDetails: boolean;
}

const CONTEXT = 'com.docker.swarm.';

/** What stands before each line: which task, on which node. */
export class LogPrefixes {
  readonly #known = new Map<string, Promise<string>>();
  readonly #names = new Map<string, Promise<string>>();

  constructor(
    readonly client: Pick<ApiClient, 'node' | 'service' | 'task'>,
    readonly options: { width: number; withNames: boolean; withTaskIds: boolean; withWholeIds: boolean },
  ) {}

  /** @param taskName  of a task that is gone: nobody else knows it any more */
  of(nodeId: string, serviceId: string, taskId: string, taskName?: string): Promise<string> {
    const known = this.#known.get(taskId);
    if (known !== undefined) return known;
    const prefix = this.#make(nodeId, serviceId, taskId, taskName);
    this.#known.set(taskId, prefix);
    return prefix;
  }

  async #make(nodeId: string, serviceId: string, taskId: string, taskName?: string): Promise<string> {
    const { client, options } = this;
    // `web.1.<task id>`: a service's name may have dots.
    const [, goneService, goneSlot = ''] = /^(.*)\.([^.]*)\.[^.]*$/.exec(taskName ?? '') ?? [];
    const [node, service] = await Promise.all([
      this.#name(nodeId, async () => {
        const { Spec, Description } = await client.node(nodeId);
        return Spec.Name || Description?.Hostname;
      }),
      this.#name(serviceId, async () => goneService ?? (await client.service(serviceId)).Spec.Name),
    ]);
    const slot = goneService === undefined ? ((await client.task(taskId)).Slot ?? 0) : slotNumber(goneSlot);
    const id = options.withTaskIds ? `.${options.withWholeIds ? taskId : taskId.slice(0, 12)}` : '';
    return `${service}.${slot}${id}@${node}${' '.repeat(Math.max(0, options.width - String(slot).length))}`;
  }

  /** The object's id stands for a name that is not to be had. */
  #name(id: string, ask: () => Promise<string | undefined>): Promise<string> {
    if (!this.options.withNames) return Promise.resolve(id);
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const name = ask().then(
      (found) => found || id,
      () => id,
    );
    this.#names.set(id, name);
    return name;
  }
}

/** A task of a global service has its node's id for a slot in its name, and is shown with 0. */
function slotNumber(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : 0;
}

/**
 * A line as the daemon sends it with details (`[TIMESTAMP ]KEY=VALUE,... TEXT`), as `docker service logs` shows it.
 *
 * @throws CommandError for one that is of another form
 */
export async function prettyLine(line: string, style: LogStyle, prefixes: LogPrefixes): Promise<string> {
  const [timestamp, afterTimestamp] = style.withTimestamps ? cut(line, line) : ['', line];
  const [given, text] = cut(afterTimestamp, line);
  const details = new Map(given.split(',').map((pair) => detailOf(pair)));
  const take = (kind: string): string => {
    const id = details.get(`${CONTEXT}${kind}.id`);
    if (id === undefined) throw new CommandError(`missing ${kind} id in details`);
    details.delete(`${CONTEXT}${kind}.id`);
    return id;
  };
  const [nodeId, serviceId, taskId] = [take('node'), take('service'), take('task')];
  const taskName = details.get(`${CONTEXT}task.name`);
  details.delete(`${CONTEXT}task.name`);
  const prefix = await prefixes.of(nodeId, serviceId, taskId, taskName);
  const others = [...details].map(([key, value]) => `${key}=${value}`).sort();
  const shown = style.withDetails ? `${others.join(',')} ` : '';
  return `${timestamp === '' ? '' : `${timestamp} `}${prefix}    | ${shown}${text}`;
}

function cut(text: string, line: string): [string, string] {
  const at = text.indexOf(' ');
  if (at < 0) throw new CommandError(`invalid context in log message: ${line}`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function detailOf(pair: string): [string, string] {
  const [key = '', value = ''] = pair.split('=', 2);
  try {
    return [decodeURIComponent(key.replaceAll('+', ' ')), decodeURIComponent(value.replaceAll('+', ' '))];
  } catch {
    throw new CommandError(`invalid details format: ${pair}`);
  }
}
