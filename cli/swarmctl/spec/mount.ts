import type { Mount } from '@apiary/api/model';
import { FlagValueError, parseBool, parseBytes } from '../command-line/index.js';
import { cut, splitCsv } from './words.js';

/** Keys that need no value: given alone they mean true. */
const FLAGS = new Set(['readonly', 'ro', 'volume-nocopy', 'bind-nonrecursive']);

/**
 * Reads `type=bind,source=/a,target=/b,readonly` and the like.
 *
 * @throws FlagValueError in Docker's words
 */
export function parseMount(text: string): Mount {
  const mount: Mount = { Type: 'volume' };
  for (const field of splitCsv(text)) {
    const { key, value, found } = cut(field);
    const name = key.toLowerCase();
    if (!found && !FLAGS.has(name)) throw new FlagValueError(`invalid field '${field}' must be a key=value pair`);
    setField(mount, name, found ? value : 'true', field);
  }
  if (mount.Type === '') throw new FlagValueError('type is required');
  if (mount.Target === undefined || mount.Target === '') throw new FlagValueError('target is required');
  checkKind(mount);
  return mount;
}

function setField(mount: Mount, name: string, value: string, field: string): void {
  switch (name) {
    case 'type':
      mount.Type = value.toLowerCase();
      return;
    case 'source':
    case 'src':
      mount.Source = value;
      return;
    case 'target':
    case 'dst':
    case 'destination':
      mount.Target = value;
      return;
    case 'readonly':
    case 'ro':
      mount.ReadOnly = boolOf(name, value) || undefined;
      return;
    case 'consistency':
      mount.Consistency = value.toLowerCase();
      return;
    default:
      if (name.startsWith('bind-')) setBindField(mount, name, value, field);
      else if (name.startsWith('volume-')) setVolumeField(mount, name, value, field);
      else if (name.startsWith('tmpfs-')) setTmpfsField(mount, name, value, field);
      else throw unexpected(name, field);
  }
}

function setBindField(mount: Mount, name: string, value: string, field: string): void {
  mount.BindOptions ??= {};
  const options = mount.BindOptions;
  if (name === 'bind-propagation') {
    options.Propagation = value.toLowerCase();
  } else if (name === 'bind-nonrecursive') {
    options.NonRecursive = boolOf(name, value) || undefined;
  } else if (name !== 'bind-recursive') {
    throw unexpected(name, field);
  } else if (value === 'disabled') {
    options.NonRecursive = true;
  } else if (value === 'writable') {
    options.ReadOnlyNonRecursive = true;
  } else if (value === 'readonly') {
    options.ReadOnlyForceRecursive = true;
  } else if (value === 'enabled') {
    // The default, for which Docker's command line makes no options.
    if (Object.keys(options).length === 0) delete mount.BindOptions;
  } else {
    throw new FlagValueError(
      `invalid value for ${name}: ${value} (must be "enabled", "disabled", "writable", or "readonly")`,
    );
  }
}

function setVolumeField(mount: Mount, name: string, value: string, field: string): void {
  mount.VolumeOptions ??= { DriverConfig: {} };
  const options = mount.VolumeOptions;
  options.DriverConfig ??= {};
  const { key, value: content } = cut(value);
  switch (name) {
    case 'volume-nocopy':
      options.NoCopy = boolOf(name, value) || undefined;
      return;
    case 'volume-subpath':
      options.Subpath = value;
      return;
    case 'volume-driver':
      options.DriverConfig.Name = value;
      return;
    case 'volume-label':
      if (key !== '') options.Labels = { ...options.Labels, [key]: content };
      return;
    case 'volume-opt':
      if (key !== '') options.DriverConfig.Options = { ...options.DriverConfig.Options, [key]: content };
      return;
    default:
      throw unexpected(name, field);
  }
}

function setTmpfsField(mount: Mount, name: string, value: string, field: string): void {
  mount.TmpfsOptions ??= {};
  const invalid = () => new FlagValueError(`invalid value for ${name}: ${value}`);
  if (name === 'tmpfs-size') {
    try {
      mount.TmpfsOptions.SizeBytes = parseBytes(value) || undefined;
    } catch {
      throw invalid();
    }
  } else if (name === 'tmpfs-mode') {
    if (!/^[0-7]{1,11}$/.test(value)) throw invalid();
    mount.TmpfsOptions.Mode = Number.parseInt(value, 8) || undefined;
  } else {
    throw unexpected(name, field);
  }
}

function checkKind(mount: Mount): void {
  const kinds = { volume: mount.VolumeOptions, bind: mount.BindOptions, tmpfs: mount.TmpfsOptions };
  for (const [kind, options] of Object.entries(kinds)) {
    if (options !== undefined && mount.Type !== kind) {
      throw new FlagValueError(`cannot mix '${kind}-*' options with mount type '${mount.Type}'`);
    }
  }
  const bind = mount.BindOptions;
  for (const [asked, word] of [
    [bind?.ReadOnlyNonRecursive, 'writable'],
    [bind?.ReadOnlyForceRecursive, 'readonly'],
  ]) {
    if (asked === true && mount.ReadOnly !== true) {
      throw new FlagValueError(`option 'bind-recursive=${word}' requires 'readonly' to be specified in conjunction`);
    }
  }
  if (bind?.ReadOnlyForceRecursive === true && bind.Propagation !== 'rprivate') {
    throw new FlagValueError(
      "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
    );
  }
}

function boolOf(name: string, value: string): boolean {
  try {
    return parseBool(value);
  } catch {
    throw new FlagValueError(`invalid value for ${name}: ${value}`);
  }
}

function unexpected(name: string, field: string): FlagValueError {
  return new FlagValueError(`unexpected key '${name}' in '${field}'`);
}
