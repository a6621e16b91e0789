import { mkdtemp, rm } from 'node:fs/promises';
import * as http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A request as it came in. */
export interface RecordedRequest {
  method: string;
  /** Without an API version before it. */
  path: string;
  query: Record<string, string>;
  body: unknown;
  headers: http.IncomingHttpHeaders;
}

/** An answer's status and JSON, or what writes the answer by itself. */
export type Reply = { status?: number; json: unknown } | ((response: http.ServerResponse) => void);

/** A daemon's socket that answers by rote and remembers what it was asked: for tests of the command line. */
export interface RecordingServer {
  /** `unix://...` */
  host: string;
  requests: RecordedRequest[];
  close(): Promise<void>;
}

/** @param answer  the reply to a request; undefined for a 404 in Docker's form */
export async function startRecordingServer(
  answer: (request: RecordedRequest) => Reply | undefined,
): Promise<RecordingServer> {
  const directory = await mkdtemp(join(tmpdir(), 'swarmctl-'));
  const socketPath = join(directory, 'socket');
  const requests: RecordedRequest[] = [];
  const server = http.createServer(async (message, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const url = new URL(message.url ?? '/', 'http://swarmd');
    const request: RecordedRequest = {
      method: message.method ?? '',
      path: url.pathname.replace(/^\/v[\d.]+/, ''),
      query: Object.fromEntries(url.searchParams),
      body: text === '' ? undefined : JSON.parse(text),
      headers: message.headers,
    };
    requests.push(request);
    const reply = answer(request) ?? { status: 404, json: { message: `${request.path} not found` } };
    if (typeof reply === 'function') {
      reply(response);
      return;
    }
    response.writeHead(reply.status ?? 200, { 'content-type': 'application/json', 'api-version': '1.41' });
    response.end(JSON.stringify(reply.json));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    host: `unix://${socketPath}`,
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true });
    },
  };
}
