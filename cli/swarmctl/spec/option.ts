import type { ContainerSpec, Placement, ServiceSpec, TaskTemplate } from '@apiary/api/model';
import { boolFlag, type Flag, listFlag, type ParsedFlags, textFlag, valueFlag } from '../command-line/index.js';

/** What a flag's value may depend on besides the command line. */
export interface Surroundings {
  /** An environment variable of the caller. */
  variable(name: string): string | undefined;
  /** @throws when it cannot be read */
  readText(path: string): string;
  /** All of a file, or without a path all that comes over standard input. @throws when it cannot be read */
  readBytes(path: string | undefined): Promise<Uint8Array>;
  /** A path made absolute. */
  absolute(path: string): string;
}

/**
 * One row of the table of service options: the flags that `service create` and `service update` have for it, and what
 * they do to a spec. Rows are independent of each other: each touches its own part of the spec.
 */
export interface ServiceOption {
  createFlags: Flag<unknown>[];
  updateFlags: Flag<unknown>[];
  /** @throws CommandError for flags that contradict each other */
  create(spec: ServiceSpec, given: ParsedFlags, surroundings: Surroundings): void;
  update(spec: ServiceSpec, given: ParsedFlags, surroundings: Surroundings): void;
}

/** Flags that contradict each other, or the object that they are to change. */
export class SpecError extends Error {}

export function taskOf(spec: ServiceSpec): TaskTemplate {
  spec.TaskTemplate ??= {};
  return spec.TaskTemplate;
}

export function containerOf(spec: ServiceSpec): ContainerSpec {
  const task = taskOf(spec);
  task.ContainerSpec ??= {};
  return task.ContainerSpec;
}

export function placementOf(spec: ServiceSpec): Placement {
  const task = taskOf(spec);
  task.Placement ??= {};
  return task.Placement;
}

/** An empty list, text or zero is left out of a spec, as Go's `omitempty` does. */
export function orNothing<T extends string | number | boolean | readonly unknown[]>(value: T): T | undefined {
  return value === '' || value === 0 || value === false || (Array.isArray(value) && value.length === 0)
    ? undefined
    : value;
}

/** One flag that `create` and `update` share, and that sets one thing. */
export function scalar<T>(flag: Flag<T>, set: (spec: ServiceSpec, value: T) => void): ServiceOption {
  const apply = (spec: ServiceSpec, given: ParsedFlags): void => {
    const value = given.get(flag);
    if (value !== undefined) set(spec, value);
  };
  // Only a new service has defaults; an update leaves alone what it does not name.
  const bare = { ...flag, defaultText: undefined };
  return { createFlags: [flag], updateFlags: [bare], create: apply, update: apply };
}

export function scalarText(
  name: string,
  short: string | undefined,
  usage: string,
  set: (spec: ServiceSpec, value: string | undefined) => void,
): ServiceOption {
  const flag = textFlag(name, usage, short === undefined ? {} : { short });
  return scalar(flag, (spec, value) => set(spec, orNothing(value)));
}

export function scalarBool(
  name: string,
  short: string | undefined,
  usage: string,
  set: (spec: ServiceSpec, value: boolean) => void,
): ServiceOption {
  return scalar(boolFlag(name, usage, short === undefined ? {} : { short }), set);
}

export function scalarValue(
  name: string,
  type: string,
  usage: string,
  parse: (text: string) => number,
  set: (spec: ServiceSpec, value: number) => void,
  defaultText?: string,
): ServiceOption {
  const options = defaultText === undefined ? {} : { defaultText };
  return scalar(valueFlag(name, usage, type, parse, options), set);
}

/** The flags of something that a service has several of: `--x` on create, `--x-add` and `--x-rm` on update. */
export interface Family<T> {
  name: string;
  short?: string;
  /** The word for its value, when that is not `list`. */
  type?: string;
  removeType?: string;
  usage: { create: string; add: string; remove: string };
  parse: (text: string) => T;
  /** Reads a value of `--x-rm`; a text when left out. */
  parseRemoved?: (text: string) => T | string;
}

export interface FamilyFlags<T> {
  create: Flag<T[]>;
  add: Flag<T[]>;
  remove: Flag<(T | string)[]>;
}

/**
 * The option of such a family.
 *
 * @param apply  puts `added` into the spec and takes `removed` out; `isNew` for a spec that has nothing of it yet
 */
export function family<T>(
  { name, short, type = 'list', removeType = 'list', usage, parse, parseRemoved }: Family<T>,
  apply: (spec: ServiceSpec, change: { added: T[]; removed: (T | string)[]; isNew: boolean }) => void,
): ServiceOption {
  const flags: FamilyFlags<T> = {
    create: listFlag(name, usage.create, parse, { type, ...(short === undefined ? {} : { short }) }),
    add: listFlag(`${name}-add`, usage.add, parse, { type }),
    remove: listFlag<T | string>(`${name}-rm`, usage.remove, parseRemoved ?? ((text) => text), { type: removeType }),
  };
  return {
    createFlags: [flags.create],
    updateFlags: [flags.add, flags.remove],
    create: (spec, given) => {
      const added = given.get(flags.create);
      if (added !== undefined) apply(spec, { added, removed: [], isNew: true });
    },
    update: (spec, given) => {
      if (!given.changed(flags.add) && !given.changed(flags.remove)) return;
      apply(spec, { added: given.get(flags.add) ?? [], removed: given.get(flags.remove) ?? [], isNew: false });
    },
  };
}
