import { createServer, type ServerHttp2Stream } from 'node:http2';
import { messageOf } from '@apiary/std';
import { PUT_PATH, putResponse } from './put.js';

const HEADERS = { ':status': 200, 'content-type': 'application/grpc' };
const UNAVAILABLE = '14';
const UNIMPLEMENTED = '12';

/**
 * Serves `Put` on a port of the loopback, each request framed as it came.
 *
 * @param put  resolves with the write's revision once it is acknowledged
 */
export function servePuts(port: number, put: (request: Buffer) => Promise<number>): Promise<void> {
  const server = createServer({ settings: { maxConcurrentStreams: 4096 } });
  server.on('stream', (stream, headers) => {
    const parts: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      if (headers[':path'] !== PUT_PATH) return refuse(stream, UNIMPLEMENTED, 'only Put is served');
      const [first] = parts;
      const request = parts.length === 1 && first !== undefined ? first : Buffer.concat(parts);
      put(request).then(
        (revision) => acknowledge(stream, revision),
        (error: unknown) => refuse(stream, UNAVAILABLE, messageOf(error)),
      );
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}

function acknowledge(stream: ServerHttp2Stream, revision: number): void {
  if (stream.destroyed) return;
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(putResponse(revision));
}

function refuse(stream: ServerHttp2Stream, status: string, words: string): void {
  if (stream.destroyed) return;
  stream.respond({ ...HEADERS, 'grpc-status': status, 'grpc-message': encodeURIComponent(words) }, { endStream: true });
}
