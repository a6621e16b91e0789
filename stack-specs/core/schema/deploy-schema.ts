import type { JsonSchema } from './json-schema.js';
import { count, duration, enumeration, natural, object, ratio, text, texts, values } from './shapes.js';

const updateConfig = object({
  parallelism: natural,
  delay: duration,
  failure_action: text,
  monitor: duration,
  max_failure_ratio: ratio,
  order: enumeration('start-first', 'stop-first'),
});

const devices: JsonSchema = {
  type: 'array',
  items: object(
    { capabilities: texts, count: { type: ['string', 'integer'] }, device_ids: texts, driver: text, options: values },
    { required: ['capabilities'] },
  ),
};

const genericResources: JsonSchema = {
  type: 'array',
  items: object({ discrete_resource_spec: object({ kind: text, value: { type: ['number', 'string'] } }) }),
};

const cpus: JsonSchema = { title: 'a number of CPUs such as "0.5"', type: ['string', 'number'] };

/** `deploy` of a service. */
export const deploy: JsonSchema = object({
  mode: text,
  endpoint_mode: text,
  replicas: natural,
  labels: values,
  rollback_config: updateConfig,
  update_config: updateConfig,
  resources: object({
    limits: object({ cpus, memory: text, pids: { ...count, title: 'a whole number' } }),
    reservations: object({ cpus, memory: text, generic_resources: genericResources, devices }),
  }),
  restart_policy: object({ condition: text, delay: duration, max_attempts: natural, window: duration }),
  placement: object({
    constraints: { type: 'array', items: text },
    preferences: { type: 'array', items: object({ spread: text }) },
    max_replicas_per_node: natural,
  }),
});
