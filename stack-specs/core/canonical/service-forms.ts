import { list, type MapEntry, map, type Node, type Path, scalar, withEntry } from '../document/node.js';
import { resolveHostPath, resolvePath } from './file-path.js';
import {
  duration,
  each,
  type Form,
  type FormContext,
  nested,
  number,
  record,
  size,
  text,
  textOf,
  texts,
  values,
  words,
} from './forms.js';
import { parsePort } from './port-syntax.js';
import { parseVolume } from './volume-syntax.js';

const filePath: Form = (node, _path, { directory }) =>
  node.kind === 'scalar' && typeof node.value === 'string'
    ? { ...node, value: resolvePath(directory, node.value) }
    : node;

/** What stands for all addresses of a host. Docker takes any other for these, too, and says so. */
const EVERYWHERE = ['', '0.0.0.0', '[::]'];

const ports = each((node, path, { diagnostics }) => {
  if (node.kind === 'map') return longPort(node, path, { diagnostics, directory: '', home: '' });
  const parsed = parsePort(textOf(node));
  if (typeof parsed === 'string') {
    diagnostics.error(parsed, path, node.place);
    return undefined;
  }
  const { hostIp = '' } = parsed[0] ?? {};
  if (!EVERYWHERE.includes(hostIp)) {
    const message = `the port is published at all addresses of hosts, not at ${hostIp} alone: that takes the long form, with host_ip`;
    diagnostics.warn(message, path, node.place);
  }
  return parsed
    .sort((a, b) => (sortText(a.target, a.protocol) < sortText(b.target, b.protocol) ? -1 : 1))
    .map(({ target, published, protocol }) =>
      record({ mode: 'ingress', target, published: published === 0 ? undefined : published, protocol }, node.place),
    );
});

const longPort = nested({ target: number, published: number });

function sortText(target: number, protocol: string): string {
  return `${target}/${protocol}`;
}

const volumes = each((node, path, context) => {
  if (node.kind === 'map') return longVolume(node, path, context);
  const parsed = parseVolume(textOf(node));
  if (typeof parsed === 'string') {
    context.diagnostics.error(parsed, path, node.place);
    return undefined;
  }
  const { type, source, target, readOnly, noCopy, propagation } = parsed;
  if (/^[a-zA-Z]:\//.test(source === '' ? target : source)) {
    context.diagnostics.warn(
      `${JSON.stringify(textOf(node))} is read as a path of Windows: give the volume a name of more than one letter`,
      path,
      node.place,
    );
  }
  return record(
    {
      type,
      source:
        source === '' ? undefined : type === 'bind' ? resolveHostPath(context.directory, context.home, source) : source,
      target,
      read_only: readOnly || undefined,
      bind: propagation === '' ? undefined : record({ propagation }, node.place),
      volume: noCopy ? record({ nocopy: true }, node.place) : undefined,
    },
    node.place,
  );
});

function longVolume(node: Node & { kind: 'map' }, path: Path, context: FormContext): Node {
  const source = node.entries.get('source')?.node;
  const made = nested({
    tmpfs: nested({ size: (given, at, inner) => number(size(given, at, inner) ?? given, at, inner) }),
    volume: nested({ labels: values(false) }),
  })(node, path, context);
  if (made?.kind !== 'map' || textOf(node.entries.get('type')?.node) !== 'bind') return made ?? node;
  if (source === undefined || textOf(source) === '') {
    context.diagnostics.error('a bind mount needs a source: the path on the host', path, node.place);
    return made;
  }
  const resolved = resolveHostPath(context.directory, context.home, textOf(source));
  return withEntry(made, 'source', { ...scalar(resolved, source.place) });
}

/** `[name]` and `{source: name}`: references to a secret or a config. */
export const fileReferences = each((node, path, context) =>
  node.kind === 'map' ? nested({ mode: fileMode })(node, path, context) : record({ source: textOf(node) }, node.place),
);

const fileMode: Form = (node, path, { diagnostics }) => {
  if (node.kind !== 'scalar' || typeof node.value !== 'string') return node;
  // What a variable brings is a decimal number, as it would be without the variable.
  if (node.interpolated && /^[1-9][0-9]*$/.test(node.value)) return { ...node, value: Number(node.value) };
  if (/^[0-7]{1,5}$/.test(node.value)) return { ...node, value: Number.parseInt(node.value, 8) };
  diagnostics.error(`${JSON.stringify(node.value)} is no mode of a file: write one such as 0440`, path, node.place);
  return node;
};

/** `[front]`: a mapping whose values say nothing. */
const networks: Form = (node) => (node.kind === 'list' ? keyed(node, (item) => scalar(null, item.place)) : node);

const dependencies: Form = (node) => (node.kind === 'list' ? keyed(node, (item) => record({}, item.place)) : node);

function keyed(node: Node & { kind: 'list' }, make: (item: Node) => Node): Node {
  const entries = new Map<string, MapEntry>();
  for (const item of node.items) entries.set(textOf(item), { keyPlace: item.place, node: make(item) });
  return map(entries, node.place);
}

/** `host:address`, from a mapping too. */
export const extraHosts: Form = (node) => {
  if (node.kind === 'list') {
    return list(
      node.items.map((item) => scalar(textOf(item).replace(/^([^:=]+)=/, '$1:'), item.place)),
      node.place,
    );
  }
  if (node.kind !== 'map') return node;
  const items = [...node.entries].flatMap(([host, { node: address }]) =>
    (address.kind === 'list' ? address.items : [address]).map((one) => scalar(`${host}:${textOf(one)}`, one.place)),
  );
  return list(items, node.place);
};

const ulimits = each((node) => {
  if (node.kind === 'scalar') {
    const value = number(node, [], {} as FormContext);
    return value?.kind === 'scalar' ? record({ soft: value.value, hard: value.value }, node.place) : node;
  }
  return nested({ soft: number, hard: number })(node, [], {} as FormContext);
});

const healthTest: Form = (node) =>
  node.kind === 'scalar' ? list([scalar('CMD-SHELL', node.place), scalar(textOf(node), node.place)], node.place) : node;

const envFiles: Form = (node, path, context) => {
  const items = node.kind === 'list' ? node.items : [node];
  return list(
    items.map((item) =>
      item.kind === 'map'
        ? (nested({ path: filePath })(item, path, context) ?? item)
        : record({ path: resolvePath(context.directory, textOf(item)) }, item.place),
    ),
    node.place,
  );
};

const updateConfig = nested({
  parallelism: number,
  delay: duration,
  monitor: duration,
  max_failure_ratio: number,
});

const deploy = nested({
  replicas: number,
  labels: values(false),
  update_config: updateConfig,
  rollback_config: updateConfig,
  restart_policy: nested({ delay: duration, window: duration, max_attempts: number }),
  placement: nested({ max_replicas_per_node: number }),
  resources: nested({
    limits: nested({ cpus: text, memory: size, pids: number }),
    reservations: nested({
      cpus: text,
      memory: size,
      generic_resources: each(nested({ discrete_resource_spec: nested({ value: number }) })),
    }),
  }),
});

const extension: Form = (node, path, context) => {
  if (node.kind !== 'map') return record({ service: textOf(node) }, node.place);
  return nested({ file: filePath })(node, path, context);
};

/** The forms of a service's keys. */
export const SERVICE_FORMS: Readonly<Record<string, Form>> = {
  build: (node, path, context) =>
    node.kind === 'scalar'
      ? record({ context: textOf(node) }, node.place)
      : nested({ args: values(true), labels: values(false), cache_from: texts })(node, path, context),
  command: words,
  configs: fileReferences,
  depends_on: dependencies,
  deploy,
  devices: each((node) => (node.kind === 'map' ? longDevice(node) : node)),
  dns: texts,
  dns_search: texts,
  entrypoint: words,
  env_file: envFiles,
  environment: values(true),
  expose: each(text),
  extends: extension,
  extra_hosts: extraHosts,
  group_add: each(text),
  healthcheck: nested({
    test: healthTest,
    interval: duration,
    timeout: duration,
    start_period: duration,
    start_interval: duration,
    retries: number,
  }),
  labels: values(false),
  logging: nested({ options: values(false) }),
  networks,
  oom_score_adj: number,
  ports,
  secrets: fileReferences,
  shm_size: text,
  stop_grace_period: duration,
  sysctls: values(false),
  tmpfs: texts,
  ulimits,
  volumes,
};

function longDevice(node: Node & { kind: 'map' }): Node {
  const part = (key: string) => textOf(node.entries.get(key)?.node);
  const [source, target, permissions] = [part('source'), part('target') || part('source'), part('permissions')];
  return scalar(`${source}:${target}${permissions === '' ? '' : `:${permissions}`}`, node.place);
}
