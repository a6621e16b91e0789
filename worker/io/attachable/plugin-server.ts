import { mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import { messageOf } from '@apiary/std';

/** Where every Docker Engine looks for the plugin `apiary`. */
export const PLUGIN_SOCKET = '/run/docker/plugins/apiary.sock';

/** What the engine calls: by path, with its JSON, for JSON. What is thrown it shows to its user. */
export type PluginCalls = Readonly<Record<string, (request: unknown) => unknown>>;

/** The engine's own bound of what it sends is far below. */
const MOST_BYTES = 1 << 20;

/** Answers the engine's calls of a plugin: Docker's plugin protocol, HTTP on a unix socket. */
export class PluginServer {
  readonly #server: Server;
  readonly #path: string;

  /** @throws Error when the socket cannot be made */
  static async listen(path: string, calls: PluginCalls): Promise<PluginServer> {
    await mkdir(dirname(path), { recursive: true });
    // What a process left that was killed.
    await rm(path, { force: true });
    const server = createServer((request, response) => void answer(calls, request, response));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    return new PluginServer(server, path);
  }

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.#path = path;
  }

  /** The engine waits for a while for the next one, if it needs one. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
    await rm(this.#path, { force: true });
  }
}

async function answer(calls: PluginCalls, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const reply = (body: unknown) => {
    response.setHeader('Content-Type', 'application/vnd.docker.plugins.v1.2+json');
    response.end(JSON.stringify(body));
  };
  try {
    const name = (request.url ?? '').slice(1);
    const call = Object.hasOwn(calls, name) ? calls[name] : undefined;
    if (call === undefined) {
      response.statusCode = 404;
      reply({ Err: `${request.url}: no such call` });
      return;
    }
    const text = await textOf(request);
    const asked: unknown = text === '' ? {} : JSON.parse(text);
    if (typeof asked !== 'object' || asked === null) throw new Error('expected a JSON object');
    reply((await call(asked)) ?? {});
  } catch (error) {
    // Networks' drivers say it by the one name, addresses' by the other.
    reply({ Err: messageOf(error), Error: messageOf(error) });
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request) {
    bytes += piece.length;
    if (bytes > MOST_BYTES) throw new Error(`more than ${MOST_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}
