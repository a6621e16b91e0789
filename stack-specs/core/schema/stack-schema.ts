import { deploy } from './deploy-schema.js';
import type { JsonSchema } from './json-schema.js';
import { service } from './service-schema.js';
import { count, flag, named, object, options, ref, text, textOrNull, textOrTexts, values } from './shapes.js';

const external: JsonSchema = {
  title: 'true or false',
  anyOf: [flag, { type: 'object', properties: { name: text }, additionalProperties: false }],
};

const network: JsonSchema = {
  anyOf: [
    { type: 'null' },
    object({
      name: text,
      driver: text,
      driver_opts: options,
      ipam: object({
        driver: text,
        config: {
          type: 'array',
          items: object({ subnet: text, ip_range: text, gateway: text, aux_addresses: options }),
        },
        options: { type: 'object', additionalProperties: text },
      }),
      external,
      internal: flag,
      enable_ipv4: flag,
      enable_ipv6: flag,
      attachable: flag,
      labels: values,
    }),
  ],
};

/** Of a volume of the cluster: its keys are the Engine API's, in Compose's spelling. */
const clusterSpec: JsonSchema = {
  type: 'object',
};

const volume: JsonSchema = {
  anyOf: [
    { type: 'null' },
    object({ name: text, driver: text, driver_opts: options, external, labels: values, 'x-cluster-spec': clusterSpec }),
  ],
};

const content = {
  name: text,
  file: text,
  environment: text,
  content: text,
  external,
  labels: values,
  template_driver: text,
};

const fileReferences: JsonSchema = {
  type: 'array',
  items: {
    anyOf: [
      text,
      object({
        source: text,
        target: text,
        uid: text,
        gid: text,
        mode: { title: 'a mode such as 0440', type: ['number', 'string'] },
      }),
    ],
  },
};

const extraHosts: JsonSchema = {
  anyOf: [
    { type: 'object', additionalProperties: { type: ['string', 'number', 'array', 'null'] } },
    { type: 'array', items: text, uniqueItems: true },
  ],
};

const ulimits: JsonSchema = {
  type: 'object',
  propertyNames: { pattern: '^[a-z]+$' },
  additionalProperties: { anyOf: [count, object({ hard: count, soft: count }, { required: ['soft', 'hard'] })] },
};

const include: JsonSchema = {
  type: 'array',
  items: { anyOf: [text, object({ path: textOrTexts, env_file: textOrTexts, project_directory: text })] },
};

/**
 * The shape of a stack file: a JSON Schema of the Compose Specification and of the version 3 files that came before it.
 */
export const STACK_SCHEMA: JsonSchema = object(
  {
    version: { type: ['string', 'number'] },
    name: text,
    include,
    services: named(ref('service')),
    networks: named(network),
    volumes: named(volume),
    secrets: named(object({ ...content, driver: text, driver_opts: options })),
    configs: named(object(content)),
    models: { type: 'object' },
  },
  { $defs: { service, deploy, fileReferences, extraHosts, ulimits, textOrNull } },
);
