import { ApiaryError, messageOf } from '@apiary/std';
import { expandTemplate, type TemplateFunctions, type TemplateStruct } from './go-template.js';
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
  const context = contextOf(facts);
  const { Mounts, Env, Hostname } = spec;
  return {
    ...spec,
    ...(Mounts && { Mounts: Mounts.map((mount) => expandMount(mount, context)) }),
    ...(Env && { Env: Env.map((entry) => expandEnv(entry, context)) }),
    ...(Hostname && { Hostname: expanded(Hostname, context, 'expanding hostname failed') }),
  };
}

/**
 * Fills in the template that a secret or a config is.
 *
 * @param functions  `secret`, `config` and `env`
 * @throws ApiaryError `invalid-argument` in Docker's words for the fault
 */
export function expandContent(text: string, facts: TemplateFacts, functions: TemplateFunctions): string {
  return expandTemplate(text, { ...contextOf(facts), goType: '*template.PayloadContext' }, functions);
}

function contextOf({ service, node, task }: TemplateFacts): TemplateStruct {
  const platform = { goType: 'template.Platform', fields: { Architecture: node.architecture, OS: node.os } };
  return {
    goType: '*template.Context',
    fields: {
      Service: {
        goType: 'struct { ID string; Name string; Labels map[string]string }',
        fields: { ID: service.id, Name: service.name, Labels: new Map(Object.entries(service.labels)) },
      },
      Node: {
        goType: 'struct { ID string; Hostname string; Platform template.Platform }',
        fields: { ID: node.id, Hostname: node.hostname, Platform: platform },
      },
      Task: {
        goType: 'struct { ID string; Name string; Slot string }',
        fields: { ID: task.id, Name: task.name, Slot: task.slot > 0 ? String(task.slot) : node.id },
      },
    },
  };
}

function expandMount(mount: Mount, context: TemplateStruct): Mount {
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
function expandEntries(
  entries: Record<string, string>,
  context: TemplateStruct,
  failing: string,
): Record<string, string> {
  const expandEntry = ([key, value]: [string, string]): [string, string] => {
    const entry = `${JSON.stringify(key)}=${JSON.stringify(value)}`;
    return [key, expanded(value, context, `${failing}: expanding map entry ${entry}`)];
  };
  return Object.fromEntries(Object.entries(entries).map(expandEntry));
}

/** Only the value of a variable is a template, not its name. */
function expandEnv(entry: string, context: TemplateStruct): string {
  const equals = entry.indexOf('=');
  if (equals < 0) return entry;
  const failing = `expanding env failed: expanding env ${JSON.stringify(entry)}`;
  return `${entry.slice(0, equals)}=${expanded(entry.slice(equals + 1), context, failing)}`;
}

/** @param failing  what is being done, for the message of a fault */
function expanded(text: string, context: TemplateStruct, failing: string): string {
  if (!text.includes('{{')) return text;
  try {
    return expandTemplate(text, context);
  } catch (error) {
    throw new ApiaryError('invalid-argument', `${failing}: ${messageOf(error)}`, { cause: error });
  }
}
