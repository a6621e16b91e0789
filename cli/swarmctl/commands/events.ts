import { ApiaryError } from '@apiary/std';
import { textFlag } from '../command-line/index.js';
import { parsing } from '../table/index.js';
import { compileTemplate, type Struct, structOf, type Template, TemplateError } from '../template/index.js';
import { CommandError, type CommandModule } from './context.js';
import { filter, inspectFormat } from './options.js';
import { momentOf } from './since.js';

const since = textFlag('since', 'Show all events created since timestamp');
const until = textFlag('until', 'Stream events until this timestamp');
const format = textFlag('format', inspectFormat.usage);

export const events: CommandModule = {
  flags: [filter, format, since, until],
  run: async (context, given) => {
    const template = templateOf(given.get(format) ?? '');
    const nowMs = context.clock.now();
    const [from, to] = [given.get(since) ?? '', given.get(until) ?? ''];
    const filters = given.get(filter);
    const query = {
      ...(from !== '' && { since: momentOf(from, nowMs) }),
      ...(to !== '' && { until: momentOf(to, nowMs) }),
      ...(filters !== undefined && { filters: JSON.stringify(filters) }),
    };
    const lines = context.client.events(query);
    try {
      for await (const line of lines) context.terminal.out(textOf(line, template));
    } catch (error) {
      if (error instanceof CommandError || error instanceof ApiaryError) throw error;
      throw new CommandError(`Lost the connection to swarmd at ${context.client.host}`);
    }
  },
};

/** Docker's exit code for a format that is wrong: it is tried before anything is asked. */
const FORMAT_EXIT_CODE = 64;
const EMPTY: EventMessage = { Type: '', Action: '', Actor: { ID: '' }, time: 0, timeNano: '0' };

/** Undefined for Docker's own form. */
function templateOf(text: string): Template | 'json' | undefined {
  if (text === '') return undefined;
  if (text === 'json') return 'json';
  try {
    const template = compileTemplate(text);
    template.render(structOfEvent(EMPTY));
    return template;
  } catch (error) {
    if (error instanceof TemplateError) {
      throw new CommandError(`Error parsing format: ${error.message}`, FORMAT_EXIT_CODE);
    }
    throw error;
  }
}

/** An event as `GET /events` says it. Its time in nanoseconds has more digits than a number. */
interface EventMessage {
  status?: string;
  id?: string;
  from?: string;
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes?: Record<string, string> };
  scope?: string;
  time: number;
  timeNano: string;
}

function textOf(line: string, template: Template | 'json' | undefined): string {
  if (template === 'json') return `${line}\n`;
  const message: EventMessage = JSON.parse(line.replace(/"timeNano":(\d+)/, '"timeNano":"$1"'));
  if (template === undefined) return lineOf(message);
  const text = parsing(() => template.render(structOfEvent(message)));
  return `${text.replaceAll(/"timeNano":"(\d+)"/g, '"timeNano":$1')}\n`;
}

function structOfEvent(message: EventMessage): Struct {
  const { Actor: actor } = message;
  const fields = structOf('*events.Message', {
    Status: () => message.status ?? '',
    ID: () => message.id ?? '',
    From: () => message.from ?? '',
    Type: () => message.Type,
    Action: () => message.Action,
    Actor: () => ({
      ...structOf('events.Actor', { ID: () => actor.ID, Attributes: () => actor.Attributes ?? {} }),
      toJSON: () => actor,
    }),
    Scope: () => message.scope ?? '',
    Time: () => message.time,
    TimeNano: () => message.timeNano,
  });
  return { ...fields, toJSON: () => message };
}

function lineOf({ timeNano, Type, Action, Actor }: EventMessage): string {
  const attributes = Object.entries(Actor.Attributes ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`);
  const shown = attributes.length === 0 ? '' : ` (${attributes.join(', ')})`;
  return `${localTime(timeNano)} ${Type} ${Action} ${Actor.ID}${shown}\n`;
}

/** RFC 3339 with nine digits of the second, in this machine's zone. */
function localTime(timeNano: string): string {
  const date = new Date(Number(timeNano.slice(0, -6)));
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const digits = (value: number): string => String(value).padStart(2, '0');
  const far = Math.abs(offset);
  const zone = offset === 0 ? 'Z' : `${offset < 0 ? '-' : '+'}${digits(Math.floor(far / 60))}:${digits(far % 60)}`;
  return `${local}.${timeNano.slice(-9)}${zone}`;
}
