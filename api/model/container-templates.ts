import { ApiaryError, messageOf } from '@apiary/std';
import {
  CallError,
  evaluateTemplate,
  goFunctions,
  goStruct,
  parseTemplate,
  requireText,
  type Struct,
  TemplateError,
  type TemplateFunction,
  type TemplateLimits,
  type TemplateText,
  TextMap,
  typed,
  variadic,
} from './go-template/index.js';
import type { ContainerSpec, Mount } from './service-spec.js';

/** What a container's templates may ask of its task, and of the service and the node that the task belongs to. */
export interface TemplateFacts {
  service: { id: string; name: string; labels: Readonly<Record<string, string>> };
  node: { id: string; hostname: string; architecture: string; os: string };
  /** `slot`: 0 for a task of a global service, whose slot is its node's id. */
  task: { id: string; name: string; slot: number };
}

/**
 * Fills in the templates of a container's mounts, environment and host name, in this order, as Docker Swarm does; it
 * expands nothing else. The managers try it with facts of no task when a spec comes in, the agent does it for a task.
 *
 * @throws ApiaryError `invalid-argument` in the words that Docker 20.10 has for the fault
 */
export function expandContainerSpec(spec: ContainerSpec, facts: TemplateFacts): ContainerSpec {
  const context = contextOf(facts, '*template.Context');
  const { Mounts, Env, Hostname } = spec;
  return {
    ...spec,
    ...(Mounts && { Mounts: Mounts.map((mount) => expandMount(mount, context)) }),
    ...(Env && { Env: Env.map((entry) => expandEnv(entry, context)) }),
    ...(Hostname && { Hostname: expanded(Hostname, context, 'expanding hostname failed') }),
  };
}

/** What a content's template may ask for beside its context. What they throw is told as Go tells it. */
export interface ContentFunctions {
  secret(target: string): string;
  config(target: string): string;
  env(name: string): string;
}

/** What one may do and make: nobody's configuration comes near. */
const CONTENT_LIMITS = { steps: 1_000_000, characters: 4 * 1024 * 1024 };
const FIELD_LIMITS = { steps: 100_000, characters: 1024 * 1024 };

/**
 * Fills in the template that a secret or a config is.
 *
 * @param bytes  each character stands for a byte, in what `functions` give and in what comes out too
 * @throws ApiaryError `invalid-argument` in Docker's words for the fault
 */
export function expandContent(bytes: string, facts: TemplateFacts, functions: ContentFunctions): string {
  const given = Object.entries(functions).map(([name, call]): [string, TemplateFunction] => [
    name,
    typed(['string'], (value) => asCalled(() => call(requireText(value, 0)))),
  ]);
  const template = { name: NAME, source: bytes, isBytes: true, countsUp: false };
  return expand(template, contextOf(facts, '*template.PayloadContext'), new Map(given), CONTENT_LIMITS);
}

function asCalled(call: () => string): string {
  try {
    return call();
  } catch (error) {
    throw new CallError(messageOf(error));
  }
}

/** What Docker calls every template. */
const NAME = 'expansion';

/** Docker's own: `{{join "," "a" "b"}}`. */
const JOIN = variadic(0, (args) => {
  const [separator, ...parts] = args.map(requireText);
  if (separator === undefined) throw new CallError('runtime error: slice bounds out of range [1:0]');
  return parts.join(separator);
});

function expand(
  template: TemplateText,
  context: Struct,
  given: ReadonlyMap<string, TemplateFunction>,
  limits: TemplateLimits,
): string {
  const functions = new Map([...goFunctions(template), ['join', JOIN] as const, ...given]);
  try {
    const nodes = parseTemplate(template, new Set(functions.keys()));
    return evaluateTemplate(nodes, context, { template, functions, limits });
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new ApiaryError('invalid-argument', error.message, { cause: error });
  }
}

function contextOf({ service, node, task }: TemplateFacts, typeName: string): Struct {
  const Platform = goStruct('template.Platform', { Architecture: node.architecture, OS: node.os });
  return goStruct(typeName, {
    Service: goStruct('struct { ID string; Name string; Labels map[string]string }', {
      ID: service.id,
      Name: service.name,
      Labels: new TextMap(service.labels),
    }),
    Node: goStruct('struct { ID string; Hostname string; Platform template.Platform }', {
      ID: node.id,
      Hostname: node.hostname,
      Platform,
    }),
    Task: goStruct('struct { ID string; Name string; Slot string }', {
      ID: task.id,
      Name: task.name,
      Slot: task.slot > 0 ? String(task.slot) : node.id,
    }),
  });
}

function expandMount(mount: Mount, context: Struct): Mount {
  const { Source, Target, VolumeOptions } = mount;
  const failing = (what: string) => `expanding mounts failed: expanding ${what}`;
  const result = { ...mount };
  if (Source !== undefined) {
    result.Source = expanded(Source, context, failing(`mount source ${JSON.stringify(Source)}`));
  }
  if (Target !== undefined) {
    result.Target = expanded(Target, context, failing(`mount target ${JSON.stringify(Target)}`));
  }
  if (VolumeOptions === undefined) return result;
  const { Labels, DriverConfig } = VolumeOptions;
  result.VolumeOptions = { ...VolumeOptions };
  if (Labels) result.VolumeOptions.Labels = expandEntries(Labels, context, failing('volume labels'));
  if (DriverConfig?.Options) {
    const Options = expandEntries(DriverConfig.Options, context, failing('volume driver config'));
    result.VolumeOptions.DriverConfig = { ...DriverConfig, Options };
  }
  return result;
}

/** Only values are templates, not the keys. */
function expandEntries(entries: Record<string, string>, context: Struct, failing: string): Record<string, string> {
  const expandEntry = ([key, value]: [string, string]): [string, string] => {
    const entry = `${JSON.stringify(key)}=${JSON.stringify(value)}`;
    return [key, expanded(value, context, `${failing}: expanding map entry ${entry}`)];
  };
  return Object.fromEntries(Object.entries(entries).map(expandEntry));
}

/** Only the value of a variable is a template, not its name. */
function expandEnv(entry: string, context: Struct): string {
  const equals = entry.indexOf('=');
  if (equals < 0) return entry;
  const failing = `expanding env failed: expanding env ${JSON.stringify(entry)}`;
  return `${entry.slice(0, equals)}=${expanded(entry.slice(equals + 1), context, failing)}`;
}

/** @param failing  what is being done, for the message of a fault */
function expanded(text: string, context: Struct, failing: string): string {
  if (!text.includes('{{')) return text;
  try {
    const template = { name: NAME, source: text, isBytes: false, countsUp: false };
    return expand(template, context, new Map(), FIELD_LIMITS);
  } catch (error) {
    throw new ApiaryError('invalid-argument', `${failing}: ${messageOf(error)}`, { cause: error });
  }
}
