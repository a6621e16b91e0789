import { request } from 'node:http';

export interface Answer {
  status: number;
  body: string;
}

/**
 * One HTTP request over a unix socket, on a connection of its own: an engine that is killed and started again must
 * not meet a kept connection.
 */
export function unixRequest(
  socketPath: string,
  method: string,
  path: string,
  body?: { type: string; bytes: Buffer },
  timeoutMs = 30_000,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { host: 'host', ...(body && { 'content-type': body.type, 'content-length': body.bytes.length }) };
    const call = request({ socketPath, method, path, headers, agent: false, timeout: timeoutMs }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    call.on('timeout', () => call.destroy(new Error(`${method} ${path}: no answer in ${timeoutMs / 1000} s`)));
    call.on('error', reject);
    call.end(body?.bytes);
  });
}

/** GETs JSON over a unix socket; throws with the answer's words when its status is not 200. */
export async function unixGetJson<T>(socketPath: string, path: string): Promise<T> {
  const { status, body } = await unixRequest(socketPath, 'GET', path);
  if (status !== 200) throw new Error(`GET ${path} on ${socketPath}: status ${status}: ${body.trim()}`);
  return JSON.parse(body);
}
