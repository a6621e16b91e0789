import { ApiaryError, messageOf } from '@apiary/std';
import type { ClusterEvent } from '../events/cluster-event.js';
import type {
  AttachmentRecord,
  ClientCertificateRecord,
  ClusterRecord,
  ContentRecord,
  NetworkRecord,
  NodeRecord,
  ServiceRecord,
  SpecVersion,
  TaskRecord,
} from './records.js';
import { Tables } from './tables.js';

/**
 * A snapshot is text: one JSON object a line, the first of which names the format. A spec version stands before the
 * service and the tasks that hold it, and before the secrets and configs that it points at.
 */
const FORMAT = 1;

type Line =
  | { format: number }
  | { cluster: ClusterRecord }
  | { clientCertificate: ClientCertificateRecord }
  | { node: NodeRecord }
  | { network: NetworkRecord }
  | { attachment: AttachmentRecord }
  | { specVersion: SpecVersion }
  | { secret: ContentRecord }
  | { config: ContentRecord }
  | { service: ServiceRecord; lastSpecVersion: number }
  | { task: TaskRecord }
  | { event: ClusterEvent };

/** Characters: to make a piece of so many takes 2 to 4 ms, during which nothing else is done. */
const PIECE_CHARACTERS = 128 * 1024;

/**
 * The tables as they are now, in pieces of whole lines. Records are never changed, only replaced, so that what they are
 * at the call is kept by copying references: what is applied while the pieces are drawn is not in them. Nothing is
 * sorted, since nobody is served meanwhile.
 */
export function writeSnapshot(tables: Tables): Iterable<string> {
  const { cluster } = tables;
  const clientCertificates = tables.clientCertificates.values();
  const nodes = tables.nodes.values();
  const networks = tables.networks.values();
  const attachments = tables.attachments.values();
  const specs = tables.specs.values();
  const secrets = tables.contents.secret.values();
  const configs = tables.contents.config.values();
  const services = tables.services.values();
  const lastSpecVersions = new Map(tables.lastSpecVersions);
  const tasks = tables.tasks.values();
  const events = tables.events.list();
  function* lines(): Generator<Line> {
    yield { format: FORMAT };
    if (cluster !== undefined) yield { cluster };
    for (const clientCertificate of clientCertificates) yield { clientCertificate };
    for (const node of nodes) yield { node };
    for (const network of networks) yield { network };
    for (const attachment of attachments) yield { attachment };
    for (const specVersion of specs) yield { specVersion };
    for (const secret of secrets) yield { secret };
    for (const config of configs) yield { config };
    for (const service of services) {
      yield { service, lastSpecVersion: lastSpecVersions.get(service.id) ?? service.specVersion };
    }
    for (const task of tasks) yield { task };
    for (const event of events) yield { event };
  }
  return inPieces(lines());
}

function* inPieces(lines: Iterable<Line>): Generator<string> {
  let piece = '';
  for (const line of lines) {
    const text = `${JSON.stringify(line)}\n`;
    if (piece !== '' && piece.length + text.length > PIECE_CHARACTERS) {
      yield piece;
      piece = '';
    }
    piece += text;
  }
  yield piece;
}

/**
 * Reads what `writeSnapshot` wrote. The pieces may have been cut anew, anywhere.
 *
 * @throws ApiaryError `failed-precondition` when it is of another format, or damaged
 */
export function readSnapshot(pieces: Iterable<string>): Tables {
  const tables = new Tables();
  let isFirst = true;
  for (const text of linesOf(pieces)) {
    const line = parsed(text);
    if (isFirst !== 'format' in line) throw damaged(`unexpected ${text.slice(0, 40)}`);
    isFirst = false;
    put(tables, line);
  }
  if (isFirst) throw damaged('it is empty');
  return tables;
}

function put(tables: Tables, line: Line): void {
  if ('task' in line) tables.putTask(line.task);
  else if ('event' in line) tables.events.put(line.event);
  else if ('service' in line) {
    tables.putService(line.service);
    tables.lastSpecVersions.set(line.service.id, line.lastSpecVersion);
  } else if ('specVersion' in line) tables.specs.add(line.specVersion);
  else if ('secret' in line) tables.contents.secret.put(line.secret);
  else if ('config' in line) tables.contents.config.put(line.config);
  else if ('node' in line) tables.nodes.put(line.node);
  else if ('attachment' in line) tables.putAttachment(line.attachment);
  else if ('network' in line) tables.networks.put(line.network);
  else if ('clientCertificate' in line) tables.clientCertificates.put(line.clientCertificate);
  else if ('cluster' in line) tables.cluster = line.cluster;
  else if (line.format !== FORMAT) {
    throw new ApiaryError(
      'failed-precondition',
      `the snapshot is of format ${line.format}, and this version of swarmd reads format ${FORMAT} only: ` +
        'start the version that wrote it, or a later one',
    );
  }
}

const KINDS = [
  'format',
  'cluster',
  'clientCertificate',
  'node',
  'network',
  'attachment',
  'specVersion',
  'secret',
  'config',
  'service',
  'task',
  'event',
];

function parsed(text: string): Line {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch (error) {
    throw damaged(messageOf(error));
  }
  if (typeof line === 'object' && line !== null && KINDS.some((kind) => kind in line)) return line as Line;
  throw damaged(`unexpected ${text.slice(0, 40)}`);
}

function* linesOf(pieces: Iterable<string>): Generator<string> {
  let rest = '';
  for (const piece of pieces) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') throw damaged('its last line is cut off');
}

function damaged(how: string): ApiaryError {
  return new ApiaryError('failed-precondition', `the snapshot is damaged: ${how}`);
}
