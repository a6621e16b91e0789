import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, messageOf } from '@apiary/std';
import type { Logger } from 'pino';
import {
  type KeptFile,
  type KeptTask,
  LogFrames,
  type OutputLine,
  outdated,
  type RetentionLimits,
} from '../core/index.js';
import type { History, KeptWanted } from './history.js';

/** Of one task: its last words are what is looked for. */
const MOST_BYTES_A_TASK = 1024 * 1024;
/** The first line of a file says whose it is. */
const LONGEST_HEAD = 4096;
const TASK_FILE = /^[0-9a-z]{1,64}$/;
const HEADER_LENGTH = 8;
const STREAM_NUMBER = { stdout: 1, stderr: 2 } as const;

export interface DiskHistoryOptions {
  /** Made when the first output is kept. */
  directory: string;
  /** Nothing is kept when one of them is 0. */
  limits: RetentionLimits;
  clock: Clock;
  logger: Logger;
}

/**
 * Keeps output in files, one a task, named by its id: a line of JSON that says whose it is, and Docker's frames
 * (stdcopy), each line with its timestamp. A file is whole or not there.
 */
export class DiskHistory implements History {
  readonly #options: DiskHistoryOptions;
  readonly #files = new Map<string, KeptFile>();
  #opening: Promise<void> | undefined;

  constructor(options: DiskHistoryOptions) {
    this.#options = options;
  }

  async keep(task: Omit<KeptTask, 'keptAtMs'>, output: AsyncIterable<OutputLine[]>): Promise<void> {
    const { directory, limits, clock, logger } = this.#options;
    if (limits.maxAgeMs <= 0 || limits.maxBytes <= 0 || !TASK_FILE.test(task.taskId)) return;
    try {
      await this.#opened();
      const most = Math.min(MOST_BYTES_A_TASK, limits.maxBytes);
      const frames = await lastFrames(output, most);
      if (frames.length === 0) return;
      const kept: KeptTask = { ...task, keptAtMs: clock.now() };
      const path = join(directory, task.taskId);
      const bytes = Buffer.concat([Buffer.from(`${JSON.stringify(kept)}\n`), ...frames]);
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeFile(`${path}.part`, bytes, { mode: 0o600 });
      await rename(`${path}.part`, path);
      this.#files.set(task.taskId, { ...kept, bytes: bytes.length });
      await this.#prune();
    } catch (error) {
      logger.warn({ task: task.taskId, err: messageOf(error) }, 'the output of a task that is removed cannot be kept');
      await rm(join(directory, `${task.taskId}.part`), { force: true }).catch(() => {});
    }
  }

  async find(wanted: KeptWanted): Promise<KeptTask[]> {
    await this.#opened();
    await this.#prune();
    const isWanted = ({ taskId, serviceId, serviceName }: KeptTask): boolean =>
      'taskId' in wanted ? taskId === wanted.taskId : [serviceId, serviceName].includes(wanted.service);
    return [...this.#files.values()].filter(isWanted).sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
  }

  async *read(taskId: string): AsyncGenerator<OutputLine[], void, void> {
    await this.#opened();
    if (!this.#files.has(taskId)) return;
    const frames = new LogFrames({ isTty: false });
    let isHead = true;
    for await (const chunk of createReadStream(join(this.#options.directory, taskId))) {
      let bytes: Buffer = chunk;
      if (isHead) {
        // The head is shorter than a stream's first chunk.
        bytes = bytes.subarray(bytes.indexOf('\n') + 1);
        isHead = false;
      }
      yield frames.push(bytes);
    }
  }

  async clear(): Promise<void> {
    // What could not be looked through goes all the same.
    await this.#opened().catch(() => {});
    this.#files.clear();
    await rm(this.#options.directory, { recursive: true, force: true });
  }

  #opened(): Promise<void> {
    this.#opening ??= this.#open().catch((error: unknown) => {
      // Whoever needs it next tries again.
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #open(): Promise<void> {
    const { directory } = this.#options;
    const names = await readdir(directory).catch(() => []);
    for (const name of names) {
      const path = join(directory, name);
      const kept = TASK_FILE.test(name) ? await headOf(path) : undefined;
      if (kept?.taskId === name) this.#files.set(name, kept);
      else if (name.endsWith('.part') || TASK_FILE.test(name)) await rm(path, { force: true });
    }
    await this.#prune();
  }

  async #prune(): Promise<void> {
    const { directory, limits, clock } = this.#options;
    for (const { taskId } of outdated([...this.#files.values()], limits, clock.now())) {
      this.#files.delete(taskId);
      await rm(join(directory, taskId), { force: true });
    }
  }
}

/** The last lines, as frames, that are within `most` bytes together. */
async function lastFrames(output: AsyncIterable<OutputLine[]>, most: number): Promise<Buffer[]> {
  const frames: Buffer[] = [];
  let bytes = 0;
  let first = 0;
  for await (const lines of output) {
    for (const line of lines) {
      const frame = frameOf(line);
      frames.push(frame);
      bytes += frame.length;
      for (; bytes > most; first++) bytes -= frames[first]?.length ?? 0;
    }
    frames.splice(0, first);
    first = 0;
  }
  return frames;
}

function frameOf({ stream, timestamp, data }: OutputLine): Buffer {
  const text = Buffer.from(`${timestamp} `);
  const header = Buffer.alloc(HEADER_LENGTH);
  header.writeUInt8(STREAM_NUMBER[stream], 0);
  header.writeUInt32BE(text.length + data.length, 4);
  return Buffer.concat([header, text, data]);
}

/** Whose file it is; undefined when it does not say so. */
async function headOf(path: string): Promise<KeptFile | undefined> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(LONGEST_HEAD), 0, LONGEST_HEAD, 0);
    const end = buffer.subarray(0, bytesRead).indexOf('\n');
    const head: unknown = JSON.parse(buffer.toString('utf8', 0, Math.max(0, end)));
    return isKept(head) ? { ...head, bytes: (await stat(path)).size } : undefined;
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

function isKept(value: unknown): value is KeptTask {
  if (typeof value !== 'object' || value === null) return false;
  const texts = ['taskId', 'taskName', 'serviceId', 'serviceName'];
  const fields = new Map<string, unknown>(Object.entries(value));
  return texts.every((key) => typeof fields.get(key) === 'string') && typeof fields.get('keptAtMs') === 'number';
}
