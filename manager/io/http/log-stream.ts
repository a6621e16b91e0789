import type { ServerResponse } from 'node:http';
import type { LogBatch, LogLine } from '@apiary/api/rpc';
import { messageOf } from '@apiary/std';
import { drained, whenClosed } from './response-flow.js';

/** How lines are written. */
export interface LogFormat {
  /** Without the headers that tell the streams apart. */
  isTty: boolean;
  withTimestamps: boolean;
  withDetails: boolean;
  serviceIdOf: (taskId: string) => string;
}

/** Docker's numbers of streams (stdcopy); what comes on the last one ends its client with these words. */
const SYSTEM_ERROR = 3;
/** As SwarmKit begins to say what is missing (manager/logbroker). */
const INCOMPLETE = 'warning: incomplete log stream. some logs could not be retrieved for the following reasons: ';

/** The answers that are under way. */
export class LogStreams {
  readonly #open = new Set<ServerResponse>();

  /** Runs `write` until it is done; the answer ends with it. */
  run(response: ServerResponse, write: () => Promise<void>): void {
    this.#open.add(response);
    whenClosed(response, () => this.#open.delete(response));
    void write().finally(() => response.end());
  }

  /** Ends all, when the server stops. */
  close(): void {
    for (const response of this.#open) {
      response.end();
      response.destroy();
    }
  }
}

/** Writes logs as Docker does, no faster than they are read. What goes wrong is said in the stream. */
export async function writeLogs(
  response: ServerResponse,
  batches: AsyncIterable<LogBatch>,
  format: LogFormat,
): Promise<void> {
  const problems = new Set<string>();
  const sayError = (words: string): void => {
    const line = Buffer.from(`Error grabbing logs: rpc error: code = Unknown desc = ${words}\n`);
    response.write(format.isTty ? line : framed(SYSTEM_ERROR, [line]));
  };
  try {
    for await (const batch of batches) {
      for (const problem of batch.problems) problems.add(problem);
      if (batch.lines.length === 0) continue;
      const bytes = Buffer.concat(batch.lines.map((line) => bytesOf(line, format)));
      if (!response.write(bytes)) await drained(response);
      if (response.destroyed) return;
    }
    if (problems.size > 0) sayError(`${INCOMPLETE}${[...problems].join(', ')}`);
  } catch (error) {
    sayError(messageOf(error));
  }
}

function bytesOf(line: LogLine, format: LogFormat): Buffer {
  const { stream, timestamp, data } = line;
  let prefix = format.withTimestamps ? `${timestamp} ` : '';
  if (format.withDetails) prefix += `${detailsOf(line, format)} `;
  const parts = prefix === '' ? [data] : [Buffer.from(prefix), data];
  return format.isTty ? Buffer.concat(parts) : framed(stream, parts);
}

/** What the log driver has noted of the container, and whose line it is, by their keys as Docker has it. */
function detailsOf(line: LogLine, { serviceIdOf }: LogFormat): string {
  const { taskId, nodeId, taskName, details } = line;
  const service = line.serviceId === '' ? serviceIdOf(taskId) : line.serviceId;
  const ours = [
    `com.docker.swarm.node.id=${nodeId}`,
    `com.docker.swarm.service.id=${service}`,
    `com.docker.swarm.task.id=${taskId}`,
    ...(taskName === '' ? [] : [`com.docker.swarm.task.name=${encodeURIComponent(taskName)}`]),
  ];
  return details === '' ? ours.join(',') : [...ours, ...details.split(',')].sort().join(',');
}

/** The stream's number, three zeros, the length in 4 bytes, big-endian. */
function framed(stream: number, parts: Buffer[]): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(
    parts.reduce((sum, { length }) => sum + length, 0),
    4,
  );
  return Buffer.concat([header, ...parts]);
}
