import type { Mount } from '@apiary/api/model';
import { sizeBytes } from '../canonical/quantity.js';
import type { Fields } from './fields.js';
import { given } from './fields.js';
import { labelled, scoped } from './stack.js';

/** The mounts of a service: its volumes, and what it wants a tmpfs at. */
export function convertMounts(stack: string, service: Fields, volumes: Fields): Mount[] {
  const mounts = service.each('volumes').flatMap((volume) => convertVolume(stack, volume, volumes) ?? []);
  const targets = new Set(mounts.map(({ Target }) => Target));
  const inMemory = (service.texts('tmpfs') ?? []).map((entry, i) => convertTmpfs(service, entry, i));
  // A long form says more of the same place.
  return [...mounts, ...inMemory.filter(({ Target }) => !targets.has(Target))];
}

const KINDS = ['bind', 'volume', 'tmpfs', 'image', 'cluster'] as const;

function convertVolume(stack: string, volume: Fields, volumes: Fields): Mount | undefined {
  const type = volume.text('type') ?? 'volume';
  const source = volume.text('source');
  const mount: Mount = given({
    Type: type,
    Target: volume.text('target'),
    Source: source,
    ReadOnly: volume.flag('read_only') || undefined,
    Consistency: volume.text('consistency'),
  });
  if (mount.Target === undefined) {
    volume.error('a mount needs a target: the path in the container');
    return undefined;
  }
  for (const other of KINDS) {
    if (other !== type && volume.raw(other) !== undefined) {
      volume.error(`${other} options are incompatible with a mount of the type ${type}`, other);
    }
  }
  switch (type) {
    case 'bind':
      return { ...mount, ...bindOptions(volume) };
    case 'volume':
      return source === undefined ? mount : namedVolume(stack, mount, source, volume, volumes);
    case 'tmpfs':
      return tmpfsMount(mount, volume);
    case 'cluster':
      return clusterVolume(stack, mount, volume, volumes);
    default:
      if (source === undefined) volume.error(`a mount of the type ${type} needs a source`);
      return mount;
  }
}

function bindOptions(volume: Fields): Pick<Mount, 'BindOptions'> {
  const bind = volume.in('bind');
  const recursive = bind.text('recursive');
  const options = given({
    Propagation: bind.text('propagation'),
    NonRecursive: recursive === 'disabled' ? true : undefined,
    ReadOnlyNonRecursive: recursive === 'writable' ? true : undefined,
    ReadOnlyForceRecursive: recursive === 'readonly' ? true : undefined,
  });
  if (bind.flag('create_host_path'))
    bind.warn('services make no folders on hosts: it has to be there', 'create_host_path');
  if (bind.has('selinux')) bind.warn('services set no SELinux labels on what they mount', 'selinux');
  return Object.keys(options).length === 0 ? {} : { BindOptions: options };
}

function namedVolume(stack: string, mount: Mount, source: string, volume: Fields, volumes: Fields): Mount | undefined {
  if (volumes.raw(source) === undefined) {
    volume.error(`undefined volume "${source}": name it in the top-level volumes`, 'source');
    return undefined;
  }
  const known = volumes.in(source);
  const own = volume.in('volume');
  const Source = known.text('name') ?? scoped(stack, source);
  const options = given({ NoCopy: own.flag('nocopy') || undefined, Subpath: own.text('subpath') });
  if (known.flag('external')) return { ...mount, Source, VolumeOptions: options };
  const driver = known.text('driver');
  const driverOptions = known.texted('driver_opts');
  const hasDriver = driver !== undefined || driverOptions !== undefined;
  return {
    ...mount,
    Source,
    VolumeOptions: {
      ...options,
      Labels: labelled(stack, { ...known.texted('labels'), ...own.texted('labels') }),
      ...(hasDriver && { DriverConfig: given({ Name: driver, Options: driverOptions }) }),
    },
  };
}

function tmpfsMount(mount: Mount, volume: Fields): Mount {
  if (mount.Source !== undefined) volume.error('a tmpfs has no source', 'source');
  const options = volume.in('tmpfs');
  const mode = options.raw('mode');
  const TmpfsOptions = given({
    SizeBytes: options.number('size') || undefined,
    Mode: typeof mode === 'string' ? Number.parseInt(mode, 8) : options.number('mode'),
  });
  return Object.keys(TmpfsOptions).length === 0 ? mount : { ...mount, TmpfsOptions };
}

/** Of a volume of the cluster, by its name or by its group. */
function clusterVolume(stack: string, mount: Mount, volume: Fields, volumes: Fields): Mount | undefined {
  const { Source: source } = mount;
  if (source === undefined) {
    volume.error('a cluster volume needs a source: its name, or group:NAME');
    return undefined;
  }
  if (source.startsWith('group:')) return { ...mount, ClusterOptions: {} };
  if (volumes.raw(source) === undefined) {
    volume.error(`undefined volume "${source}": name it in the top-level volumes`, 'source');
    return undefined;
  }
  return { ...mount, Source: volumes.in(source).text('name') ?? scoped(stack, source), ClusterOptions: {} };
}

/** `PATH[:size=64m,mode=1777]`. */
function convertTmpfs(service: Fields, entry: string, at: number): Mount {
  const [target = '', options = ''] = entry.split(':');
  const known: Record<string, number> = {};
  for (const option of options.split(',').filter((one) => one !== '')) {
    const [key = '', value = ''] = option.split('=');
    const size = key === 'size' ? sizeBytes(value) : undefined;
    if (size !== undefined) known['SizeBytes'] = size;
    else if (key === 'mode' && /^[0-7]+$/.test(value)) known['Mode'] = Number.parseInt(value, 8);
    else service.warn(`the tmpfs option ${JSON.stringify(option)} is not honoured`, 'tmpfs', at);
  }
  return { Type: 'tmpfs', Target: target, ...(Object.keys(known).length > 0 && { TmpfsOptions: known }) };
}
