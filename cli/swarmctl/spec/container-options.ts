import type { Mount, ServiceSpec } from '@apiary/api/model';
import { boolFlag, listFlag, type ParsedFlags, parseInt64, valueFlag } from '../command-line/index.js';
import { envOption } from './env.js';
import { parseMount } from './mount.js';
import { containerOf, family, orNothing, type ServiceOption, scalarBool, scalarText, scalarValue } from './option.js';
import {
  parseCapability,
  parseCredentialSpec,
  parseDnsSearch,
  parseExtraHost,
  parseIpAddress,
  parseLabel,
  parseUlimit,
  type Ulimit,
} from './values.js';
import { cut, splitShellWords, toMap } from './words.js';

const identity = (text: string): string => text;
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** A family whose values are the entries of a map. */
export function mapFamily(
  name: string,
  short: string | undefined,
  usage: { create: string; add: string; remove: string },
  parse: (text: string) => string,
  holder: (spec: ServiceSpec) => { get(): Record<string, string> | undefined; set(map: Record<string, string>): void },
): ServiceOption {
  const named = short === undefined ? { name, usage, parse } : { name, short, usage, parse };
  return family<string>(named, (spec, { added, removed }) => {
    const place = holder(spec);
    const map = { ...place.get() };
    for (const word of removed) delete map[cut(word).key];
    place.set(Object.assign(map, toMap(added)));
  });
}

/** A sorted list without repetitions, as Docker keeps the lists that an update changes. */
function changedList(current: readonly string[] | undefined, added: string[], removed: readonly unknown[]): string[] {
  const gone = new Set(removed);
  return [...new Set([...(current ?? []), ...added])].filter((item) => !gone.has(item)).sort();
}

function dnsFamily(
  name: string,
  usage: { create: string; add: string; remove: string },
  key: 'Nameservers' | 'Search' | 'Options',
  parse: (text: string) => string,
): ServiceOption {
  return family<string>({ name, usage, parse }, (spec, { added, removed, isNew }) => {
    const container = containerOf(spec);
    const list = isNew ? added : changedList(container.DNSConfig?.[key], added, removed);
    container.DNSConfig = { ...container.DNSConfig, [key]: orNothing(list) };
  });
}

const groups = family<string>(
  {
    name: 'group',
    usage: {
      create: 'Set one or more supplementary user groups for the container',
      add: 'Add an additional supplementary user group to the container',
      remove: 'Remove a previously added supplementary user group from the container',
    },
    parse: identity,
  },
  (spec, { added, removed, isNew }) => {
    const container = containerOf(spec);
    const gone = new Set<unknown>(removed);
    const all = [...(container.Groups ?? []), ...added].filter((group) => !gone.has(group));
    container.Groups = orNothing(isNew ? all : all.sort());
  },
);

/** Hosts are kept as lines of /etc/hosts, and removed as `HOST` or `HOST:IP`. */
const hosts = family<string>(
  {
    name: 'host',
    usage: {
      create: 'Set one or more custom host-to-IP mappings (host:ip)',
      add: 'Add a custom host-to-IP mapping ("host:ip")',
      remove: 'Remove a custom host-to-IP mapping ("host:ip")',
    },
    parse: parseExtraHost,
  },
  (spec, { added, removed, isNew }) => {
    const container = containerOf(spec);
    const kept = (container.Hosts ?? []).flatMap((line) => {
      const [address = '', ...names] = line.split(/\s+/).filter((word) => word !== '');
      const left = names.filter(
        (name) =>
          !removed.some((entry) => cut(entry, ':').key === name && ['', address].includes(cut(entry, ':').value)),
      );
      return left.length === 0 ? [] : [`${address} ${left.join(' ')}`];
    });
    const lines = added.map((entry) => `${cut(entry, ':').value} ${cut(entry, ':').key}`);
    container.Hosts = orNothing(isNew ? lines : [...new Set([...kept, ...lines])]);
  },
);

const ulimits = ((): ServiceOption => {
  const option = family<Ulimit>(
    {
      name: 'ulimit',
      type: 'ulimit',
      usage: {
        create: 'Ulimit options (default [])',
        add: 'Add or update a ulimit option (default [])',
        remove: 'Remove a ulimit option',
      },
      parse: parseUlimit,
    },
    (spec, { added, removed }) => {
      const container = containerOf(spec);
      const byName = new Map((container.Ulimits ?? []).map((ulimit) => [ulimit.Name ?? '', ulimit]));
      for (const word of removed) byName.delete(cut(textOf(word)).key);
      for (const ulimit of added) byName.set(ulimit.Name ?? '', ulimit);
      const sorted = [...byName.values()].sort((a, b) => ((a.Name ?? '') < (b.Name ?? '') ? -1 : 1));
      container.Ulimits = orNothing(sorted);
    },
  );
  return option;
})();

const mounts = ((): ServiceOption => {
  const option = family<Mount>(
    {
      name: 'mount',
      type: 'mount',
      usage: {
        create: 'Attach a filesystem mount to the service',
        add: 'Add or update a mount on a service',
        remove: 'Remove a mount by its target path',
      },
      parse: parseMount,
    },
    (spec, { added, removed, isNew }) => {
      const container = containerOf(spec);
      if (isNew) {
        container.Mounts = added;
        return;
      }
      const byTarget = new Map((container.Mounts ?? []).map((mount) => [mount.Target, mount]));
      for (const mount of added) byTarget.set(mount.Target, mount);
      for (const target of removed) byTarget.delete(textOf(target));
      const key = (mount: Mount) => `${mount.Source ?? ''}\0${mount.Target ?? ''}`;
      container.Mounts = orNothing([...byTarget.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1)));
    },
  );
  // A source such as `./data` is meant from where the command runs.
  const resolved = (apply: ServiceOption['create']): ServiceOption['create'] => {
    return (spec, given, surroundings) => {
      apply(spec, given, surroundings);
      for (const mount of spec.TaskTemplate?.ContainerSpec?.Mounts ?? []) {
        if (mount.Source?.startsWith('.') === true) mount.Source = surroundings.absolute(mount.Source);
      }
    };
  };
  return { ...option, create: resolved(option.create), update: resolved(option.update) };
})();

/** Adding wins over dropping; on an update each first takes back what the other did before. */
const capabilities = ((): ServiceOption => {
  const add = listFlag('cap-add', 'Add Linux capabilities', parseCapability);
  const drop = listFlag('cap-drop', 'Drop Linux capabilities', parseCapability);
  const listOf = (names: Set<string>) => orNothing(names.has('ALL') ? ['ALL'] : [...names].sort());
  return {
    createFlags: [add, drop],
    updateFlags: [add, drop],
    create: (spec, given) => {
      const [added, dropped] = [new Set(given.get(add)), new Set(given.get(drop))];
      for (const name of dropped) if (added.has(name) && !added.has('ALL')) dropped.delete(name);
      if (added.has('ALL') && dropped.has('ALL')) dropped.clear();
      added.delete('RESET');
      dropped.delete('RESET');
      Object.assign(containerOf(spec), { CapabilityAdd: listOf(added), CapabilityDrop: listOf(dropped) });
    },
    update: (spec, given) => {
      if (!given.changed(add) && !given.changed(drop)) return;
      const container = containerOf(spec);
      const [toAdd, toDrop] = [new Set(given.get(add)), new Set(given.get(drop))];
      const added = new Set(toAdd.delete('RESET') ? [] : container.CapabilityAdd);
      const dropped = new Set(toDrop.delete('RESET') ? [] : container.CapabilityDrop);
      for (const name of toDrop) if (!toAdd.has(name) && !added.delete(name)) dropped.add(name);
      for (const name of toAdd) if (!dropped.delete(name)) added.add(name);
      Object.assign(container, { CapabilityAdd: listOf(added), CapabilityDrop: listOf(dropped) });
    },
  };
})();

/** `--init` is sent with a new service in any case: without, an engine's own default would decide. */
const init = ((): ServiceOption => {
  const usage = 'Use an init inside each service container to forward signals and reap processes';
  const flag = boolFlag('init', usage);
  return {
    createFlags: [flag],
    updateFlags: [flag],
    create: (spec, given) => {
      containerOf(spec).Init = given.get(flag) ?? false;
    },
    update: (spec, given) => {
      const value = given.get(flag);
      if (value !== undefined) containerOf(spec).Init = value;
    },
  };
})();

/** A new service's arguments follow its image; an update's are one text. */
const args = ((): ServiceOption => {
  const flag = valueFlag('args', 'Service command args', 'command', splitShellWords);
  return {
    createFlags: [],
    updateFlags: [flag],
    create: () => {},
    update: (spec, given) => {
      const words = given.get(flag);
      if (words !== undefined) containerOf(spec).Args = orNothing(words);
    },
  };
})();

const entrypoint = ((): ServiceOption => {
  const flag = valueFlag('entrypoint', 'Overwrite the default ENTRYPOINT of the image', 'command', splitShellWords);
  const apply: ServiceOption['create'] = (spec, given) => {
    const words = given.get(flag);
    if (words !== undefined) containerOf(spec).Command = orNothing(words);
  };
  return { createFlags: [flag], updateFlags: [flag], create: apply, update: apply };
})();

const credentialSpec: ServiceOption = (() => {
  const words = 'Credential spec for managed service account (Windows only)';
  const flag = valueFlag('credential-spec', words, 'credential-spec', parseCredentialSpec);
  const apply = (spec: ServiceSpec, given: ParsedFlags, isNew: boolean): void => {
    const asked = given.get(flag);
    if (asked === undefined || (isNew && Object.keys(asked).length === 0)) return;
    containerOf(spec).Privileges = { ...containerOf(spec).Privileges, CredentialSpec: asked };
  };
  return {
    createFlags: [flag],
    updateFlags: [flag],
    create: (spec, given) => apply(spec, given, true),
    update: (spec, given) => apply(spec, given, false),
  };
})();

/** The options of a task's container. */
export const CONTAINER_OPTIONS: ServiceOption[] = [
  mapFamily(
    'container-label',
    undefined,
    {
      create: 'Container labels',
      add: 'Add or update a container label',
      remove: 'Remove a container label by its key',
    },
    parseLabel,
    (spec) => ({
      get: () => containerOf(spec).Labels,
      set: (map) => {
        containerOf(spec).Labels = Object.keys(map).length === 0 ? undefined : map;
      },
    }),
  ),
  mapFamily(
    'sysctl',
    undefined,
    { create: 'Sysctl options', add: 'Add or update a Sysctl option', remove: 'Remove a Sysctl option' },
    identity,
    (spec) => ({
      get: () => containerOf(spec).Sysctls,
      set: (map) => {
        containerOf(spec).Sysctls = Object.keys(map).length === 0 ? undefined : map;
      },
    }),
  ),
  envOption,
  args,
  entrypoint,
  mounts,
  groups,
  hosts,
  ulimits,
  capabilities,
  init,
  dnsFamily(
    'dns',
    {
      create: 'Set custom DNS servers',
      add: 'Add or update a custom DNS server',
      remove: 'Remove a custom DNS server',
    },
    'Nameservers',
    parseIpAddress,
  ),
  dnsFamily(
    'dns-search',
    {
      create: 'Set custom DNS search domains',
      add: 'Add or update a custom DNS search domain',
      remove: 'Remove a DNS search domain',
    },
    'Search',
    parseDnsSearch,
  ),
  dnsFamily(
    'dns-option',
    { create: 'Set DNS options', add: 'Add or update a DNS option', remove: 'Remove a DNS option' },
    'Options',
    identity,
  ),
  scalarText('workdir', 'w', 'Working directory inside the container', (spec, value) => {
    containerOf(spec).Dir = value;
  }),
  scalarText('user', 'u', 'Username or UID (format: <name|uid>[:<group|gid>])', (spec, value) => {
    containerOf(spec).User = value;
  }),
  scalarText('hostname', undefined, 'Container hostname', (spec, value) => {
    containerOf(spec).Hostname = value;
  }),
  scalarText('stop-signal', undefined, 'Signal to stop the container', (spec, value) => {
    containerOf(spec).StopSignal = value;
  }),
  scalarText('isolation', undefined, 'Service container isolation mode', (spec, value) => {
    containerOf(spec).Isolation = value;
  }),
  credentialSpec,
  scalarValue('oom-score-adj', 'int', "Tune host's OOM preferences (-1000 to 1000) ", parseInt64, (spec, value) => {
    containerOf(spec).OomScoreAdj = orNothing(value);
  }),
  scalarBool('tty', 't', 'Allocate a pseudo-TTY', (spec, value) => {
    containerOf(spec).TTY = orNothing(value);
  }),
  scalarBool('read-only', undefined, "Mount the container's root filesystem as read only", (spec, value) => {
    containerOf(spec).ReadOnly = orNothing(value);
  }),
];
