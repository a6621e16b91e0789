import { type LogBatch, type LogLine, LogsService } from '@apiary/api/rpc';
import { invariant } from '@apiary/std';
import { type ServiceError, status } from '@grpc/grpc-js';
import * as fc from 'fast-check';
import { damaged } from './damage.js';
import { openRpcDoor, type RpcDoor, TASK, WORKER } from './rpc-door.js';
import type { OpenTarget, Target, Verdict } from './target.js';

/** What agents bring of the output of their tasks, over gRPC, while somebody reads it. */

const asIs = (bytes: Buffer): Buffer => bytes;
const ASKED = { follow: false, stdout: true, stderr: true, since: '', tail: -1, details: false };

function line(second: number): LogLine {
  const timestamp = `2026-01-01T00:00:0${second}.000000000Z`;
  const data = Buffer.from('words\n');
  return { taskId: TASK, nodeId: '', stream: 1, timestamp, data, taskName: '', serviceId: '', details: 'A=1' };
}

/** With the id of a query in it, which has the length of all of them. */
function batches(queryId: string): Buffer[] {
  const all: LogBatch[] = [
    { queryId, lines: [line(1), line(2)], problems: [], isLast: false },
    {
      queryId: '',
      lines: [line(3), { ...line(0), taskName: 'web.1.x', serviceId: 'service' }],
      problems: ['one'],
      isLast: true,
    },
  ];
  return all.map((batch) => LogsService.publish.requestSerialize(batch));
}

const PLACEHOLDER = 'q'.repeat(25);

async function bring({ broker, told, worker }: RpcDoor, all: readonly Uint8Array[]): Promise<Verdict> {
  const collection = broker.collect({ serviceId: '', taskId: TASK, options: ASKED, after: [], kept: false });
  const query = told();
  invariant(query?.$case === 'logQuery' && query.value.queryId.length === PLACEHOLDER.length, 'the agent was asked');
  const read = (async () => {
    for await (const { lines } of collection) {
      for (const { taskId, nodeId } of lines) {
        invariant(taskId === TASK && nodeId === WORKER, `lines of task ${taskId}, said to be of node ${nodeId}`);
      }
    }
  })().catch((error: unknown) => error);
  const { path } = LogsService.publish;
  const verdict = await new Promise<Verdict>((resolve, reject) => {
    const call = worker.makeClientStreamRequest(path, asIs, asIs, { deadline: Date.now() + 8_000 }, (error) => {
      if (error === null) resolve('taken');
      else if (isRefusal(error)) resolve('refused');
      else reject(error);
    });
    for (const bytes of all) {
      call.write(
        Buffer.from(Buffer.from(bytes).toString('latin1').replace(PLACEHOLDER, query.value.queryId), 'latin1'),
      );
    }
    call.end();
  });
  collection.close();
  const failure = await read;
  invariant(!(failure instanceof Error) || failure.name !== 'InvariantError', String(failure));
  return verdict;
}

function isRefusal({ code, details }: ServiceError): boolean {
  if (code === status.INTERNAL) return /deserializ/i.test(details);
  return code !== status.UNKNOWN && code !== status.DEADLINE_EXCEEDED;
}

async function open(): Promise<OpenTarget> {
  const door = await openRpcDoor();
  const [first = Buffer.alloc(0), ...rest] = batches(PLACEHOLDER);
  const samples = [first, ...rest];
  // Most name the query as they should, or nothing of them would be read.
  const beginning = fc.oneof({ weight: 4, arbitrary: fc.constant(first) }, { weight: 1, arbitrary: damaged(first) });
  const property = fc.tuple(beginning, fc.array(damaged(...samples), { maxLength: 3 })).map(
    ([begun, more]) =>
      () =>
        bring(door, [begun, ...more]),
  );
  return { property, close: door.close };
}

export const LOG_STREAM_TARGET: Target = { name: 'log streams', share: 20, open };
