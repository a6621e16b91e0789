import type { LogBatch, LogOptions, LogRequest } from '@apiary/api/rpc';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { findService, findTask } from '../../core/engine-api/index.js';
import { type ApiContext, currentView } from './context.js';
import { ReplyError } from './error-reply.js';
import { type LogFormat, type LogStreams, writeLogs } from './log-stream.js';
import { pathParameter, queryFlag, queryText } from './request-reading.js';
import { closingOf } from './response-flow.js';

/**
 * `GET /services/{id}/logs` and `GET /tasks/{id}/logs`, as Docker's engine serves them. With `kept`, which is ours, also
 * what nodes have kept of tasks that are gone, each line with its task's name among its details: Docker's clients could
 * not look that up. Then the service, or the task, may be gone itself.
 */
export function logRoutes(app: FastifyInstance, context: ApiContext, streams: LogStreams): void {
  app.get('/services/:id/logs', async (request, reply) => {
    const asked = { options: optionsOf(request), after: [], kept: queryFlag(request, 'kept') };
    const view = await currentView(context);
    const reference = pathParameter(request, 'id');
    const service = asked.kept ? unlessGone(() => findService(view, reference)) : findService(view, reference);
    if (service === undefined) return serveGone(request, reply, { ...asked, serviceId: reference, taskId: '' });
    const { id, spec } = service;
    const isTty = spec.TaskTemplate.ContainerSpec?.TTY === true;
    const format = { isTty, ...formatOf(request), serviceIdOf: () => id };
    return serve(reply, (signal) => read({ ...asked, serviceId: id, taskId: '' }, signal), format);
  });

  app.get('/tasks/:id/logs', async (request, reply) => {
    const asked = { options: optionsOf(request), after: [], kept: false };
    const view = await currentView(context);
    const reference = pathParameter(request, 'id');
    const isKeptAsked = queryFlag(request, 'kept');
    const task = isKeptAsked ? unlessGone(() => findTask(view, reference)) : findTask(view, reference);
    if (task === undefined) {
      const taskId = reference.slice(reference.lastIndexOf('.') + 1);
      return serveGone(request, reply, { ...asked, serviceId: '', taskId, kept: true });
    }
    const { id, serviceId, specVersion } = task;
    const isTty = view.spec(serviceId, specVersion).template.ContainerSpec?.TTY === true;
    const format = { isTty, ...formatOf(request), serviceIdOf: () => serviceId };
    return serve(reply, (signal) => read({ ...asked, serviceId: '', taskId: id }, signal), format);
  });

  const read = (request: LogRequest, signal: AbortSignal) => context.node.logs().read(request, signal);

  /** Of a service or a task that is gone: it is not found unless something of it was kept. */
  async function serveGone(request: FastifyRequest, reply: FastifyReply, asked: LogRequest): Promise<FastifyReply> {
    const closing = closingOf(reply.raw);
    const options = asked.options === undefined ? undefined : { ...asked.options, follow: false };
    const batches = read({ ...asked, options }, closing)[Symbol.asyncIterator]();
    const first: LogBatch[] = [];
    for (let next = await batches.next(); next.done !== true; next = await batches.next()) {
      first.push(next.value);
      if (next.value.lines.length > 0) break;
    }
    if (first.every(({ lines }) => lines.length === 0)) {
      const [kind, name] = asked.taskId === '' ? ['service', asked.serviceId] : ['task', asked.taskId];
      throw new ApiaryError('not-found', `${kind} ${name} not found`);
    }
    async function* all(): AsyncGenerator<LogBatch, void, void> {
      yield* first;
      for (let next = await batches.next(); next.done !== true; next = await batches.next()) yield next.value;
    }
    const format = { isTty: false, ...formatOf(request), serviceIdOf: () => '' };
    return serve(reply, all, format);
  }

  function serve(
    reply: FastifyReply,
    open: (signal: AbortSignal) => AsyncIterable<LogBatch>,
    format: LogFormat,
  ): FastifyReply {
    const type = format.isTty ? 'raw-stream' : 'multiplexed-stream';
    const { raw } = reply;
    const batches = open(closingOf(raw));
    reply.hijack();
    raw.writeHead(200, { ...headersOf(reply), 'content-type': `application/vnd.docker.${type}` });
    raw.flushHeaders();
    streams.run(raw, () => writeLogs(raw, batches, format));
    return reply;
  }
}

function unlessGone<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (error instanceof ApiaryError && error.code === 'not-found') return undefined;
    throw error;
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
  return { follow: queryFlag(request, 'follow'), stdout, stderr, since, tail, details: queryFlag(request, 'details') };
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
