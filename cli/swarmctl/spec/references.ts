import { type ContentKind, FOLLOWS, type ServiceSpec } from '@apiary/api/model';
import { type Flag, FlagValueError, listFlag, type ParsedFlags, parseBool } from '../command-line/index.js';
import { containerOf, orNothing, type ServiceOption, SpecError, taskOf } from './option.js';
import { cut, splitCsv } from './words.js';

/** What a service's spec names by id and its user by name: networks, secrets and configs. */

type NetworkAttachment = NonNullable<ServiceSpec['TaskTemplate']['Networks']>[number];

/** What `--secret` and `--config` ask for. */
interface ContentRequest {
  name: string;
  file: { Name: string; UID: string; GID: string; Mode: number };
  /** Whichever version the name has, and not the one that it has now: ours. */
  follows: boolean;
}

/** By kind, the names that have to be looked up. */
export interface ReferenceNames {
  networks: string[];
  secrets: string[];
  configs: string[];
}

/** By name, the id. @see ReferenceNames */
export type FoundReferences = Record<keyof ReferenceNames, ReadonlyMap<string, string>>;

const network = listFlag('network', 'Network attachments', parseNetwork, { type: 'network' });
const networkAdd = listFlag('network-add', 'Add a network', parseNetwork, { type: 'network' });
const networkRemove = listFlag('network-rm', 'Remove a network', (text) => text);

interface ContentFlags {
  create: Flag<ContentRequest[]>;
  add: Flag<ContentRequest[]>;
  remove: Flag<string[]>;
}

function contentFlags(kind: ContentKind, usage: Record<keyof ContentFlags, string>): ContentFlags {
  const parse = (text: string): ContentRequest => parseContent(kind, text);
  return {
    create: listFlag(kind, usage.create, parse, { type: kind }),
    add: listFlag(`${kind}-add`, usage.add, parse, { type: kind }),
    remove: listFlag(`${kind}-rm`, usage.remove, (text) => text),
  };
}

const CONTENT_FLAGS: Record<ContentKind, ContentFlags> = {
  secret: contentFlags('secret', {
    create: 'Specify secrets to expose to the service',
    add: 'Add or update a secret on a service',
    remove: 'Remove a secret',
  }),
  config: contentFlags('config', {
    create: 'Specify configurations to expose to the service',
    add: 'Add or update a config file on a service',
    remove: 'Remove a configuration file',
  }),
};

/** The flags alone: what they ask for is put into the spec by `applyReferences`, once the names have been looked up. */
export const REFERENCE_OPTION: ServiceOption = {
  createFlags: [network, CONTENT_FLAGS.secret.create, CONTENT_FLAGS.config.create],
  updateFlags: [
    networkAdd,
    networkRemove,
    ...[CONTENT_FLAGS.secret, CONTENT_FLAGS.config].flatMap(({ add, remove }) => [add, remove]),
  ],
  create: () => {},
  update: () => {},
};

const PLURAL = { secret: 'secrets', config: 'configs' } as const;

/**
 * What has to be looked up for the flags of `service create` or `service update`.
 *
 * @throws SpecError for two secrets, or two configs, at one place
 */
export function askedReferences(given: ParsedFlags): ReferenceNames {
  const attached = [...(given.get(network) ?? []), ...(given.get(networkAdd) ?? [])].map(({ Target = '' }) => Target);
  const contents = (kind: ContentKind): string[] =>
    requestsOf(given, kind).flatMap(({ name, follows }) => (follows ? [] : [name]));
  return {
    networks: [...new Set([...attached, ...(given.get(networkRemove) ?? [])])],
    secrets: contents('secret'),
    configs: contents('config'),
  };
}

function requestsOf(given: ParsedFlags, kind: ContentKind): ContentRequest[] {
  const { create, add } = CONTENT_FLAGS[kind];
  const requests = [...(given.get(create) ?? []), ...(given.get(add) ?? [])];
  const targets = new Set<string>();
  for (const { name, file } of requests) {
    if (targets.has(file.Name)) throw new SpecError(`duplicate ${kind} target for ${name} not allowed`);
    targets.add(file.Name);
  }
  return requests;
}

/**
 * Puts what the flags ask for into a spec, or takes it out.
 *
 * @param found  all that `askedReferences` named
 * @throws SpecError for a name that was not found, and for a network that the service is on already
 */
export function applyReferences(spec: ServiceSpec, given: ParsedFlags, found: FoundReferences): void {
  applyNetworks(spec, given, found.networks);
  for (const kind of ['secret', 'config'] as const) applyContents(spec, given, kind, found[PLURAL[kind]]);
}

function applyNetworks(spec: ServiceSpec, given: ParsedFlags, ids: FoundReferences['networks']): void {
  const isChanged = [networkAdd, networkRemove].some((flag) => given.changed(flag));
  const created = given.get(network) ?? [];
  if (!isChanged && created.length === 0) return;
  const task = taskOf(spec);
  const removed = new Set((given.get(networkRemove) ?? []).map((name) => ids.get(name)));
  // Where a service names its networks as a whole is Docker's older place for it: they move.
  const before = (task.Networks ?? []).length > 0 ? task.Networks : spec.Networks;
  const networks = (before ?? []).filter(({ Target }) => !removed.has(Target));
  if (isChanged) delete spec.Networks;
  const resolved = ({ Target = '', ...rest }: NetworkAttachment): NetworkAttachment => {
    const id = ids.get(Target);
    if (id === undefined) throw new SpecError(`network ${Target} not found`);
    return { Target: id, ...rest };
  };
  for (const asked of given.get(networkAdd) ?? []) {
    const attachment = resolved(asked);
    if (networks.some(({ Target }) => Target === attachment.Target)) {
      throw new SpecError(`service is already attached to network ${asked.Target}`);
    }
    networks.push(attachment);
  }
  networks.push(...created.map(resolved));
  task.Networks = orNothing(networks.sort(({ Target: a = '' }, { Target: b = '' }) => (a < b ? -1 : a > b ? 1 : 0)));
}

function applyContents(
  spec: ServiceSpec,
  given: ParsedFlags,
  kind: ContentKind,
  ids: ReadonlyMap<string, string>,
): void {
  const requests = requestsOf(given, kind);
  const removed = new Set(given.get(CONTENT_FLAGS[kind].remove));
  if (requests.length === 0 && removed.size === 0) return;
  const container = containerOf(spec);
  const added = requests.map(({ name, file, follows }) => {
    const id = follows ? FOLLOWS : ids.get(name);
    if (id === undefined) throw new SpecError(`${kind} not found: ${name}`);
    return { name, file, id };
  });
  if (kind === 'secret') {
    const kept = (container.Secrets ?? []).filter(({ SecretName = '' }) => !removed.has(SecretName));
    const references = added.map(({ name, file, id }) => ({ File: file, SecretID: id, SecretName: name }));
    container.Secrets = orNothing([...kept, ...references]);
  } else {
    const kept = (container.Configs ?? []).filter(({ ConfigName = '' }) => !removed.has(ConfigName));
    const references = added.map(({ name, file, id }) => ({ File: file, ConfigID: id, ConfigName: name }));
    container.Configs = orNothing([...kept, ...references]);
  }
}

/** `NAME`, or `name=NAME,alias=ALIAS,driver-opt=KEY=VALUE`. */
function parseNetwork(text: string): NetworkAttachment {
  if (!/\w+=\w+/.test(text)) return { Target: text };
  const attachment: NetworkAttachment = {};
  const aliases: string[] = [];
  for (const field of splitCsv(text)) {
    const { key: rawKey, value: rawValue, found } = cut(field.toLowerCase());
    if (!found || rawKey === '') throw new FlagValueError(`invalid field ${field}`);
    const [key, value] = [rawKey.trim(), rawValue.trim()];
    if (key === 'name') attachment.Target = value;
    else if (key === 'alias') aliases.push(value);
    else if (key === 'driver-opt') {
      const option = cut(value);
      if (!option.found) throw new FlagValueError('invalid key value pair format in driver options');
      attachment.DriverOpts = { ...attachment.DriverOpts, [option.key.trim()]: option.value.trim() };
    } else {
      throw new FlagValueError(`invalid field key ${key}`);
    }
  }
  if (attachment.Target === undefined || attachment.Target === '') {
    throw new FlagValueError('network name/id is not specified');
  }
  const { Target, ...rest } = attachment;
  return { Target, ...(aliases.length > 0 && { Aliases: aliases }), ...rest };
}

/** `NAME`, or `source=NAME,target=FILE,uid=0,gid=0,mode=0444`, and `follow`. */
function parseContent(kind: ContentKind, text: string): ContentRequest {
  if (text === '') throw new FlagValueError('EOF');
  const request: ContentRequest = { name: '', file: { Name: '', UID: '0', GID: '0', Mode: 0o444 }, follows: false };
  const fields = splitCsv(text);
  const [first = ''] = fields;
  if (fields.length === 1 && !first.includes('=')) return { ...request, name: first, file: named(request, first) };
  for (const field of fields) setContentField(kind, request, field);
  if (request.name === '') throw new FlagValueError('source is required');
  return { ...request, file: named(request, request.file.Name || request.name) };
}

function named({ file }: ContentRequest, name: string): ContentRequest['file'] {
  return { ...file, Name: name };
}

function setContentField(kind: ContentKind, request: ContentRequest, field: string): void {
  if (field.toLowerCase() === 'follow') {
    request.follows = true;
    return;
  }
  const { key, value, found } = cut(field);
  if (!found || key === '') throw new FlagValueError(`invalid field '${field}' must be a key=value pair`);
  switch (key.toLowerCase()) {
    case 'source':
    case 'src':
      request.name = value;
      return;
    case 'target':
      request.file.Name = value;
      return;
    case 'uid':
      request.file.UID = value;
      return;
    case 'gid':
      request.file.GID = value;
      return;
    case 'mode':
      request.file.Mode = modeOf(value);
      return;
    case 'follow':
      request.follows = parseBool(value);
      return;
    default:
      throw new FlagValueError(`invalid field in ${kind} request: ${key}`);
  }
}

/** As Go's strconv.ParseUint reads it with base 0: octal after a 0. */
function modeOf(text: string): number {
  const fail = (why: string) =>
    new FlagValueError(`invalid mode specified: strconv.ParseUint: parsing ${JSON.stringify(text)}: ${why}`);
  if (!/^(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]*|[1-9]\d*)$/.test(text)) throw fail('invalid syntax');
  const mode = /^0[0-7]/.test(text) ? Number.parseInt(text, 8) : Number(text);
  if (mode > 0xffff_ffff) throw fail('value out of range');
  return mode;
}
