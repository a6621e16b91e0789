import { ApiaryError, type Clock } from '@apiary/std';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parseFilters } from '../../core/engine-api/index.js';
import type { Replica } from '../ports.js';
import type { ApiContext } from './context.js';
import { ReplyError } from './error-reply.js';
import type { EventRequest, EventStreams } from './event-stream.js';
import { queryText } from './request-reading.js';

/** `GET /events`: of a node that is no manager the engine's own; a manager adds the cluster's. */
export function eventRoutes(
  app: FastifyInstance,
  { node, engine }: ApiContext,
  streams: EventStreams,
  clock: Clock,
): void {
  app.get('/events', async (request, reply) => {
    const replica = managerOf(node);
    if (replica === undefined) return engine.forwardFrom(request, reply);
    const asked = requestOf(request, clock.now());
    const answer = await engine.open(request.originalUrl);
    reply.hijack();
    const headers = Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]);
    reply.raw.writeHead(200, { ...Object.fromEntries(headers), 'content-type': 'application/json' });
    reply.raw.flushHeaders();
    streams.start(reply.raw, replica, answer, asked);
    return reply;
  });
}

function managerOf(node: ApiContext['node']): Replica | undefined {
  try {
    return node.replica();
  } catch (error) {
    if (error instanceof ApiaryError) return undefined;
    throw error;
  }
}

function requestOf(request: FastifyRequest, nowMs: number): EventRequest {
  const [sinceText, untilText] = [queryText(request, 'since') ?? '', queryText(request, 'until') ?? ''];
  const [since, until] = [timeOf(sinceText), timeOf(untilText)];
  if (since !== undefined && until !== undefined && BigInt(until) < BigInt(since)) {
    throw new ApiaryError(
      'invalid-argument',
      `\`since\` time (${sinceText}) cannot be after \`until\` time (${untilText})`,
    );
  }
  const isPast = until !== undefined && BigInt(until) < BigInt(nowMs) * 1_000_000n;
  return { since, until, isPast, filters: parseFilters(queryText(request, 'filters')) };
}

/** `SECONDS[.NANOSECONDS]` since the epoch, as nanoseconds; Docker takes -1 and nothing for no time. */
function timeOf(text: string): string | undefined {
  if (text === '' || text === '-1') return undefined;
  const [, seconds, fraction = ''] = /^(\d{1,12})(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  if (seconds !== undefined) return BigInt(`${seconds}${fraction.padEnd(9, '0')}`).toString();
  const message = `invalid time ${JSON.stringify(text)}: expected SECONDS[.NANOSECONDS] since 1970`;
  throw new ReplyError({ status: 500, code: 'invalid-argument', message });
}
