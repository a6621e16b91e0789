import type { LogOptions, LogRequest } from '@apiary/api/rpc';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { findService, findTask } from '../../core/engine-api/index.js';
import { type ApiContext, currentView } from './context.js';
import { ReplyError } from './error-reply.js';
import { type LogFormat, type LogStreams, writeLogs } from './log-stream.js';
import { pathParameter, queryFlag, queryText } from './request-reading.js';

/** `GET /services/{id}/logs` and `GET /tasks/{id}/logs`, as Docker's engine serves them. */
export function logRoutes(app: FastifyInstance, context: ApiContext, streams: LogStreams): void {
  app.get('/services/:id/logs', async (request, reply) => {
    const options = optionsOf(request);
    const view = await currentView(context);
    const { id, spec } = findService(view, pathParameter(request, 'id'));
    const isTty = spec.TaskTemplate.ContainerSpec?.TTY === true;
    const format = { isTty, ...formatOf(request), serviceIdOf: () => id };
    return serve(reply, { serviceId: id, taskId: '', options, after: [] }, format);
  });

  app.get('/tasks/:id/logs', async (request, reply) => {
    const options = optionsOf(request);
    const view = await currentView(context);
    const { id, serviceId, specVersion } = findTask(view, pathParameter(request, 'id'));
    const isTty = view.spec(serviceId, specVersion).template.ContainerSpec?.TTY === true;
    const format = { isTty, ...formatOf(request), serviceIdOf: () => serviceId };
    return serve(reply, { serviceId: '', taskId: id, options, after: [] }, format);
  });

  function serve(reply: FastifyReply, request: LogRequest, format: LogFormat): FastifyReply {
    const logs = context.node.logs();
    const aborter = new AbortController();
    const type = format.isTty ? 'raw-stream' : 'multiplexed-stream';
    const { raw } = reply;
    reply.hijack();
    raw.writeHead(200, { ...headersOf(reply), 'content-type': `application/vnd.docker.${type}` });
    raw.flushHeaders();
    raw.once('close', () => aborter.abort());
    streams.run(raw, () => writeLogs(raw, logs.read(request, aborter.signal), format));
    return reply;
  }
}

function headersOf(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]));
}

function formatOf(request: FastifyRequest): Pick<LogFormat, 'withTimestamps' | 'withDetails'> {
  return { withTimestamps: queryFlag(request, 'timestamps'), withDetails: queryFlag(request, 'details') };
}

/** @throws ApiaryError, ReplyError in Docker's words */
function optionsOf(request: FastifyRequest): LogOptions {
  const [stdout, stderr] = [queryFlag(request, 'stdout'), queryFlag(request, 'stderr')];
  if (!stdout && !stderr) {
    throw new ApiaryError('invalid-argument', 'Bad parameters: you must choose at least one stream');
  }
  if ((queryText(request, 'until') ?? '') !== '') {
    throw new ApiaryError('invalid-argument', 'until: logs of services and tasks go on to now: leave it out');
  }
  const since = sinceOf(queryText(request, 'since') ?? '');
  const tail = tailOf(queryText(request, 'tail') ?? '');
  return { follow: queryFlag(request, 'follow'), stdout, stderr, since, tail };
}

function tailOf(text: string): number {
  if (text === '' || text === 'all') return -1;
  const tail = Number(text);
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(tail)) {
    throw refusal('tail value must be a positive integer or "all"');
  }
  if (tail < 0) throw refusal('negative tail values not supported');
  return tail;
}

function sinceOf(text: string): string {
  if (text === '' || text === '0') return '';
  if (/^\d{1,12}(\.\d{1,9})?$/.test(text)) return text;
  throw refusal(`could not parse since timestamp: ${text}: expected SECONDS[.NANOSECONDS] since 1970`);
}

/** SwarmKit gives these no code, so that Docker answers 500. */
function refusal(message: string): ReplyError {
  return new ReplyError({ status: 500, code: 'invalid-argument', message: message });
}
