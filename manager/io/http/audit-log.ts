import { createWriteStream, type WriteStream } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Clock, messageOf } from '@apiary/std';
import { withoutVersion } from './api-version.js';
import type { Logger } from './context.js';
import { ERROR_CODE_HEADER } from './error-reply.js';
import { pathOf } from './request-reading.js';

const MOST_BYTES = 16 * 1024 * 1024;
const KEPT_FILES = 4;
/** What is read is not noted, but for what makes its reader as good as a manager: join tokens, the unlock key, backups. */
const READS = /^\/(?:swarm|swarm\/unlockkey|apiary\/v1\/(?:backup|join-tokens))(?:[?/]|$)/;

/** Who asked for something, and from where. */
export interface Asker {
  who: string;
  from: string;
}

export interface AuditLogOptions {
  path: string;
  clock: Clock;
  logger: Logger;
}

/**
 * Every call that may change something, and some that read: one JSON object a line: when, who, from where, what, and how
 * it ended. Neither what was sent nor what was answered is in it, for either may be secret; nor is a query, which may name
 * what is. Four files of 16 MiB before the current one are kept.
 */
export class AuditLog {
  readonly #options: AuditLogOptions;
  #file: WriteStream | undefined;
  #bytes = 0;
  #writing: Promise<void> | undefined;
  #waiting: string[] = [];

  constructor(options: AuditLogOptions) {
    this.#options = options;
  }

  /** Notes the request once it has been answered, or its client has gone. */
  follow(request: IncomingMessage, response: ServerResponse, asker: Asker): void {
    if (isReading(request) && !READS.test(withoutVersion(request.url ?? ''))) return;
    response.once('close', () => {
      const code = response.getHeader(ERROR_CODE_HEADER);
      this.#note(request, asker, {
        status: response.statusCode,
        ...(typeof code === 'string' && { error: code }),
        ...(!response.writableFinished && { cut: true }),
      });
    });
  }

  /** Notes a request that takes its connection over: what goes over it then is not looked at. */
  taken(request: Pick<IncomingMessage, 'method' | 'url'>, asker: Asker): void {
    this.#note(request, asker, { taken: true });
  }

  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) await new Promise<void>((resolve) => file.end(resolve));
  }

  #note({ method, url }: Pick<IncomingMessage, 'method' | 'url'>, { who, from }: Asker, result: object): void {
    const time = new Date(this.#options.clock.now()).toISOString();
    const what = `${method} ${pathOf(withoutVersion(url ?? ''))}`;
    this.#waiting.push(`${JSON.stringify({ time, who, from, what, ...result })}\n`);
    this.#drain();
  }

  #drain(): void {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#waiting.length > 0) this.#drain();
    });
  }

  async #write(): Promise<void> {
    const text = this.#waiting.splice(0).join('');
    try {
      const file = await this.#opened(Buffer.byteLength(text));
      await new Promise<void>((resolve, reject) => file.write(text, (error) => (error ? reject(error) : resolve())));
    } catch (error) {
      this.#file?.destroy();
      this.#file = undefined;
      this.#options.logger.error({ reason: messageOf(error), lost: text }, 'cannot write the audit log');
    }
  }

  async #opened(bytes: number): Promise<WriteStream> {
    const { path } = this.#options;
    if (this.#file === undefined) this.#bytes = await sizeOf(path);
    if (this.#bytes > 0 && this.#bytes + bytes > MOST_BYTES) {
      const full = this.#file;
      this.#file = undefined;
      if (full !== undefined) await new Promise<void>((resolve) => full.end(resolve));
      await makeRoom(path);
      this.#bytes = 0;
    }
    this.#bytes += bytes;
    if (this.#file !== undefined) return this.#file;
    const file = createWriteStream(path, { flags: 'a', mode: 0o600 });
    // Whoever writes hears of it.
    file.on('error', () => {});
    this.#file = file;
    return file;
  }
}

export function isReading({ method }: Pick<IncomingMessage, 'method'>): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}

async function makeRoom(path: string): Promise<void> {
  for (let number = KEPT_FILES; number > 0; number--) {
    await rename(number === 1 ? path : `${path}.${number - 1}`, `${path}.${number}`).catch(() => undefined);
  }
}

function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
