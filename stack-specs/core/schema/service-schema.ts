import type { JsonSchema } from './json-schema.js';
import {
  command,
  count,
  duration,
  enumeration,
  flag,
  natural,
  object,
  options,
  ref,
  size,
  text,
  textOrNull,
  textOrTexts,
  texts,
  values,
} from './shapes.js';

const PORTS = '^([^ ]*:)?[0-9]*(-[0-9]+)?:?[0-9]+(-[0-9]+)?(/[a-zA-Z]+)?$';

const build: JsonSchema = {
  anyOf: [
    text,
    object({
      context: text,
      dockerfile: text,
      dockerfile_inline: text,
      entitlements: texts,
      args: values,
      ssh: values,
      labels: values,
      cache_from: textOrTexts,
      cache_to: textOrTexts,
      no_cache: flag,
      no_cache_filter: textOrTexts,
      additional_contexts: values,
      network: textOrNull,
      provenance: { type: ['string', 'boolean'] },
      sbom: { type: ['string', 'boolean'] },
      pull: flag,
      target: text,
      shm_size: size,
      extra_hosts: ref('extraHosts'),
      isolation: text,
      privileged: flag,
      secrets: ref('fileReferences'),
      tags: texts,
      ulimits: ref('ulimits'),
      platforms: texts,
    }),
  ],
};

const port: JsonSchema = {
  anyOf: [
    { title: 'a port such as "8080:80", "53:53/udp" or "9000-9002:9000-9002"', type: 'string', pattern: PORTS },
    { type: 'integer', minimum: 0 },
    object({
      name: text,
      mode: text,
      host_ip: text,
      target: { title: 'a port number', type: ['integer', 'string'] },
      published: { title: 'a port number', type: ['integer', 'string'] },
      protocol: text,
      app_protocol: text,
    }),
  ],
};

const volume: JsonSchema = {
  anyOf: [
    text,
    object(
      {
        type: enumeration('bind', 'volume', 'tmpfs', 'npipe', 'cluster', 'image'),
        source: text,
        target: text,
        read_only: flag,
        consistency: text,
        bind: object({
          propagation: text,
          create_host_path: flag,
          recursive: enumeration('enabled', 'disabled', 'writable', 'readonly'),
          selinux: enumeration('z', 'Z'),
        }),
        volume: object({ nocopy: flag, subpath: text, labels: values }),
        tmpfs: object({
          size: { title: 'a size such as 64M', type: ['integer', 'string'] },
          mode: { type: ['integer', 'string'] },
        }),
        image: object({ subpath: text }),
        cluster: object({}),
      },
      { required: ['type'] },
    ),
  ],
};

const network: JsonSchema = {
  anyOf: [
    { type: 'null' },
    object({
      aliases: texts,
      ipv4_address: text,
      ipv6_address: text,
      link_local_ips: texts,
      mac_address: text,
      interface_name: text,
      driver_opts: options,
      priority: { type: 'number' },
      gw_priority: { type: 'number' },
    }),
  ],
};

const dependency = object(
  {
    condition: enumeration('service_started', 'service_healthy', 'service_completed_successfully'),
    restart: flag,
    required: { type: 'boolean' },
  },
  { required: ['condition'] },
);

const envFile: JsonSchema = {
  anyOf: [
    text,
    {
      type: 'array',
      items: { anyOf: [text, object({ path: text, format: text, required: flag }, { required: ['path'] })] },
    },
  ],
};

export const healthcheck: JsonSchema = object({
  disable: flag,
  interval: duration,
  retries: natural,
  test: command,
  timeout: duration,
  start_period: duration,
  start_interval: duration,
});

const device: JsonSchema = {
  anyOf: [text, object({ source: text, target: text, permissions: text }, { required: ['source'] })],
};

/** Keys that a single container has and a service of a swarm cannot: they are read, and named as ignored. */
const ofOneContainer: Record<string, JsonSchema> = {
  annotations: values,
  attach: flag,
  blkio_config: { type: 'object' },
  cgroup: enumeration('host', 'private'),
  cgroup_parent: text,
  cgroupns_mode: text,
  container_name: text,
  cpu_count: count,
  cpu_percent: { type: ['number', 'string'] },
  cpu_period: { type: ['string', 'number'] },
  cpu_quota: { type: ['string', 'number'] },
  cpu_rt_period: { type: ['string', 'number'] },
  cpu_rt_runtime: { type: ['string', 'number'] },
  cpu_shares: { type: ['string', 'number'] },
  cpus: { type: ['string', 'number'] },
  cpuset: text,
  develop: { type: ['object', 'null'] },
  device_cgroup_rules: texts,
  domainname: text,
  external_links: texts,
  gpus: { type: ['string', 'array'] },
  ipc: text,
  label_file: textOrTexts,
  links: texts,
  mem_limit: size,
  mem_reservation: size,
  mem_swappiness: count,
  memswap_limit: size,
  models: { type: ['array', 'object'] },
  network_mode: text,
  oom_kill_disable: flag,
  pid: textOrNull,
  pids_limit: count,
  platform: text,
  post_start: { type: 'array', items: { type: 'object' } },
  pre_stop: { type: 'array', items: { type: 'object' } },
  provider: { type: 'object' },
  runtime: text,
  scale: count,
  security_opt: texts,
  storage_opt: { type: 'object' },
  use_api_socket: flag,
  userns_mode: text,
  uts: text,
  volumes_from: texts,
};

/** A service. */
export const service: JsonSchema = object({
  ...ofOneContainer,
  build,
  cap_add: texts,
  cap_drop: texts,
  command,
  configs: ref('fileReferences'),
  credential_spec: object({ config: text, file: text, registry: text }),
  depends_on: { anyOf: [texts, { type: 'object', additionalProperties: dependency }] },
  deploy: { anyOf: [{ type: 'null' }, ref('deploy')] },
  devices: { type: 'array', items: device, uniqueItems: true },
  dns: textOrTexts,
  dns_opt: texts,
  dns_search: textOrTexts,
  entrypoint: command,
  env_file: envFile,
  environment: values,
  expose: {
    type: 'array',
    items: {
      title: 'a port such as 80, "80/tcp" or "80-82"',
      type: ['string', 'integer'],
      pattern: '^[0-9]+(-[0-9]+)?(/[a-zA-Z]+)?$',
    },
    uniqueItems: true,
  },
  extends: { anyOf: [text, object({ service: text, file: text }, { required: ['service'] })] },
  extra_hosts: ref('extraHosts'),
  group_add: { type: 'array', items: { type: ['string', 'number'] }, uniqueItems: true },
  healthcheck,
  hostname: text,
  image: text,
  init: { type: 'boolean' },
  isolation: text,
  labels: values,
  logging: object({ driver: text, options }),
  mac_address: text,
  networks: { anyOf: [texts, { type: 'object', additionalProperties: network }] },
  oom_score_adj: { type: ['integer', 'string'] },
  ports: { type: 'array', items: port, uniqueItems: true },
  privileged: flag,
  profiles: texts,
  pull_policy: {
    type: 'string',
    pattern: '^(always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+)$',
  },
  pull_refresh_after: text,
  read_only: flag,
  restart: text,
  secrets: ref('fileReferences'),
  shm_size: size,
  stdin_open: flag,
  stop_grace_period: duration,
  stop_signal: text,
  sysctls: values,
  tmpfs: textOrTexts,
  tty: flag,
  ulimits: ref('ulimits'),
  user: text,
  volumes: { type: 'array', items: volume, uniqueItems: true },
  working_dir: text,
});
