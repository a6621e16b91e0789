import { StringDecoder } from 'node:string_decoder';
import { ApiError } from '@apiary/api/client';
import type { Service, Task } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import { boolFlag, type ParsedFlags, textFlag } from '../command-line/index.js';
import { ofStack } from '../stack/of-stack.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { demultiplexed, SYSTEM_ERROR } from './log-frames.js';
import { LogPrefixes, type LogStyle, prettyLine } from './log-line.js';
import { inOrderOfTime, type LogLine } from './log-order.js';
import { noTrunc } from './options.js';
import { sinceOf } from './since.js';

const details = boolFlag('details', 'Show extra details provided to logs');
const follow = boolFlag('follow', 'Follow log output', { short: 'f' });
const noResolve = boolFlag('no-resolve', 'Do not map IDs to Names in output');
const noTaskIds = boolFlag('no-task-ids', 'Do not include task IDs in output');
const raw = boolFlag('raw', 'Do not neatly format logs');
const since = textFlag(
  'since',
  'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
);
const tail = textFlag('tail', 'Number of lines to show from the end of the logs', { short: 'n', defaultText: '"all"' });
const timestamps = boolFlag('timestamps', 'Show timestamps', { short: 't' });

const flags = [details, follow, noResolve, noTaskIds, noTrunc, raw, since, tail, timestamps];

export const serviceLogs: CommandModule = {
  flags,
  run: async (context, given, [name = '']) => {
    const service = await found(context.client.service(name));
    if (service === undefined) return ofTask(context, given, name, 'no such task or service');
    await writeLogs(context, given, sourceOf(context, name, service));
  },
};

export const taskLogs: CommandModule = {
  flags,
  run: (context, given, [name = '']) => ofTask(context, given, name, 'no such task'),
};

/** Of all services at once: in the order of their times, or each line as it comes when more are waited for. */
export const stackLogs: CommandModule = {
  flags,
  run: async (context, given, [stack = '']) => {
    const services = await context.client.services(ofStack(stack));
    if (services.length === 0) throw new CommandError(`nothing found in stack: ${stack}`);
    const leave = new AbortController();
    const sources = services.map((service) =>
      sourceOf(context, service.Spec.Name ?? service.ID, service, leave.signal),
    );
    if (given.get(follow) === true) {
      // What goes wrong with one of them ends the others, which would go on for ever.
      await Promise.all(sources.map((source) => writeLogs(context, given, source))).finally(() => leave.abort());
      return;
    }
    const lines = sources.map((source) => linesOf(context, given, source, { isTimed: true }));
    for await (const { to, text } of inOrderOfTime(lines)) context.terminal[to](text);
  },
};

function sourceOf({ client }: Context, name: string, { Spec }: Service, signal?: AbortSignal): LogSource {
  const replicas = Spec.Mode?.Replicated?.Replicas;
  const isTty = Spec.TaskTemplate?.ContainerSpec?.TTY === true;
  const width = replicas === undefined ? 1 : digits(replicas);
  return { isTty, width, open: (query) => client.serviceLogs(name, query, signal) };
}

async function ofTask(context: Context, given: ParsedFlags, name: string, missing: string): Promise<void> {
  const task = await found(context.client.task(name));
  if (task === undefined) return ofGone(context, given, name, missing);
  const isTty = task.Spec.ContainerSpec?.TTY === true;
  const width = digits(slotOf(task));
  await writeLogs(context, given, { isTty, width, open: (query) => context.client.taskLogs(name, query) });
}

/** What the nodes have kept of a service or a task that is gone. */
async function ofGone(context: Context, given: ParsedFlags, name: string, missing: string): Promise<void> {
  const { client } = context;
  const open = async (query: Record<string, string>) => {
    const ofService = missing.includes('service') ? await found(client.serviceLogs(name, query)) : undefined;
    const answer = ofService ?? (await found(client.taskLogs(name, query)));
    if (answer === undefined) throw new CommandError(`${missing}: ${name}`);
    return answer;
  };
  await writeLogs(context, given, { isTty: false, width: 1, open });
}

interface LogSource {
  isTty: boolean;
  width: number;
  open: (query: Record<string, string>) => Promise<AsyncIterable<Buffer>>;
}

async function writeLogs(context: Context, given: ParsedFlags, source: LogSource): Promise<void> {
  for await (const { to, text } of linesOf(context, given, source, { isTimed: false })) context.terminal[to](text);
}

/** The lines of a source as they are shown, with their times if they are to have them. */
async function* linesOf(
  context: Context,
  given: ParsedFlags,
  source: LogSource,
  { isTimed }: { isTimed: boolean },
): AsyncGenerator<LogLine, void, void> {
  const isRaw = given.get(raw) === true;
  if (source.isTty && !isRaw) throw new CommandError('tty service logs only supported with --raw');
  const { client, clock } = context;
  const style: LogStyle = {
    withTimestamps: given.get(timestamps) === true,
    withDetails: given.get(details) === true,
  };
  const answer = await source.open({
    stdout: '1',
    stderr: '1',
    kept: '1',
    tail: given.get(tail) ?? 'all',
    ...(given.changed(since) && { since: sinceOf(given.get(since) ?? '', clock.now()) }),
    ...((style.withTimestamps || (isTimed && !source.isTty)) && { timestamps: '1' }),
    ...((style.withDetails || !isRaw) && { details: '1' }),
    ...(given.get(follow) === true && { follow: '1' }),
  });
  const prefixes = new LogPrefixes(client, {
    width: source.width,
    withNames: given.get(noResolve) !== true,
    withTaskIds: given.get(noTaskIds) !== true,
    withWholeIds: given.get(noTrunc) === true,
  });
  // A character may be cut where a long line is.
  const decoders = { out: new StringDecoder('utf8'), err: new StringDecoder('utf8') };
  try {
    if (source.isTty) for await (const chunk of answer) yield { to: 'out', text: decoders.out.write(chunk), time: '' };
    else {
      for await (const { stream, bytes } of demultiplexed(answer)) {
        if (stream === SYSTEM_ERROR) throw new CommandError(`error from daemon in stream: ${bytes.toString()}`);
        const to = stream === 2 ? 'err' : 'out';
        const said = decoders[to].write(bytes);
        const time = isTimed ? said.slice(0, said.indexOf(' ') + 1) : '';
        const line = style.withTimestamps ? said : said.slice(time.length);
        yield { to, text: isRaw ? line : await prettyLine(line, style, prefixes), time };
      }
    }
  } catch (error) {
    if (error instanceof CommandError || error instanceof ApiaryError) throw error;
    throw new CommandError(`Lost the connection to swarmd at ${client.host}: the logs are not complete`);
  }
}

async function found<T>(object: Promise<T>): Promise<T | undefined> {
  try {
    return await object;
  } catch (error) {
    if (error instanceof ApiError && error.code === 'not-found') return undefined;
    throw error;
  }
}

const digits = (count: number): number => String(count).length;

const slotOf = ({ Slot = 0 }: Task): number => Slot;
