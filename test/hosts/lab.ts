import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ApiaryError, messageOf, systemCodeOf } from '@apiary/std';
import { commandLine, processState, signal, startTicks } from './process.js';

/** Every lab is a directory here, named like all else of it. On disk: overlayfs wants a real file system below. */
export const LABS_DIRECTORY = '/var/tmp/apiary-hosts';

const OWNER_FILE = 'owner.json';

/** A lab directory without a readable owner is somebody's who is just making it, unless it is older than this. */
const NEWBORN_MS = 60_000;

const REMOVAL_MS = 15_000;

interface ProcessName {
  pid: number;
  /** Clock ticks since boot, which tell the process from a later one with its id. */
  startTicks: number;
}

interface Owner extends ProcessName {
  /** The first process of each namespace of the lab: when it ends, so do all others in there. */
  roots: ProcessName[];
}

/**
 * A lab's claim on this machine: its name, its directory, its subnet, and the removal of everything that carries
 * the name. The name says the subnet (`ap` and two octets in hexadecimal), so the directory that is made in one
 * step claims both, and labs side by side never meet.
 *
 * Three things remove a lab: `remove()`, the end of this process (exit, or a signal), and, after a kill -9, the next
 * lab to start (`sweep`). In the last case the kernel has already ended the lab's processes (`DIES_WITH_US`), and
 * with them its namespaces, mounts and links; cgroups and files are left for the sweep.
 */
export class Lab {
  readonly directory: string;
  /** The first three octets of the lab's /24. */
  readonly subnet: string;
  readonly #roots = new Set<number>();
  readonly #others = new Set<number>();
  readonly #onExit = () => {
    try {
      this.remove();
    } catch (error) {
      console.error(messageOf(error));
    }
  };
  readonly #onSignal = (name: NodeJS.Signals) => {
    this.#onExit();
    process.kill(process.pid, name);
  };

  private constructor(
    readonly name: string,
    signals: boolean,
  ) {
    this.directory = join(LABS_DIRECTORY, name);
    this.subnet = subnetOf(name);
    process.on('exit', this.#onExit);
    if (signals) for (const each of SIGNALS) process.on(each, this.#onSignal);
  }

  /**
   * Claims a name and a subnet that neither another lab nor this machine uses, from 10.128.0.0 to 10.223.255.255: Docker's
   * overlay networks are handed out from below, and the gateway subnets of nodes from above.
   *
   * @param signals  whether SIGINT, SIGTERM and SIGHUP remove the lab and then end this process, as they would have
   *                 without it; false for a caller that handles them and ends by itself
   */
  static claim(signals: boolean): Lab {
    mkdirSync(LABS_DIRECTORY, { recursive: true });
    const newborn = join(LABS_DIRECTORY, `.new-${process.pid}-${randomInt(2 ** 32)}`);
    mkdirSync(newborn);
    writeFileSync(join(newborn, OWNER_FILE), JSON.stringify(ownerNow([])));
    const routes = machineRoutes();
    try {
      for (let tries = 0; tries < 1000; tries++) {
        const name = `ap${randomInt(0x8000, 0xe000).toString(16)}`;
        if (routes.some((route) => route.startsWith(`${subnetOf(name)}.`))) continue;
        if (renamed(newborn, join(LABS_DIRECTORY, name))) return new Lab(name, signals);
      }
    } catch (error) {
      rmSync(newborn, { recursive: true, force: true });
      throw error;
    }
    rmSync(newborn, { recursive: true, force: true });
    throw new ApiaryError(
      'resource-exhausted',
      'no free /24 from 10.128.0.0 to 10.223.255.255 for the test hosts: remove labs or routes',
    );
  }

  /** Has the first process of a namespace, and with it whatever runs in there, killed when the lab goes. */
  addRoot(pid: number): void {
    this.#roots.add(pid);
    this.#writeOwner();
  }

  /** Says that such a process has been ended: its number may become somebody else's. */
  forgetRoot(pid: number): void {
    this.#roots.delete(pid);
    this.#writeOwner();
  }

  #writeOwner(): void {
    const temporary = join(this.directory, `.${OWNER_FILE}`);
    writeFileSync(temporary, JSON.stringify(ownerNow([...this.#roots])));
    renameSync(temporary, join(this.directory, OWNER_FILE));
  }

  /** Has a process outside of the lab's pid namespaces killed when the lab goes. */
  addProcess(pid: number | undefined): void {
    if (pid !== undefined) this.#others.add(pid);
  }

  forgetProcess(pid: number | undefined): void {
    if (pid !== undefined) this.#others.delete(pid);
  }

  /** Removes all of the lab. Synchronous, so that it works while this process exits; once is enough, twice is fine. */
  remove(): void {
    process.off('exit', this.#onExit);
    for (const each of SIGNALS) process.off(each, this.#onSignal);
    for (const pid of this.#others) signal(pid, 'SIGKILL');
    removeLab(this.name, [...this.#roots]);
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Removes the labs whose owner is gone; those of living owners are left alone.
 *
 * @returns the names of the removed ones
 */
export function sweep(): string[] {
  const swept: string[] = [];
  for (const name of existsSync(LABS_DIRECTORY) ? readdirSync(LABS_DIRECTORY) : []) {
    const owner = ownerOf(name);
    if (owner === 'newborn' || (owner !== undefined && isAlive(owner))) continue;
    removeLab(name, owner === undefined ? [] : owner.roots.filter(isAlive).map(({ pid }) => pid));
    swept.push(name);
  }
  return swept;
}

function removeLab(name: string, roots: readonly number[]): void {
  const deadline = performance.now() + REMOVAL_MS;
  const retried = (what: string, done: () => boolean) => {
    while (!done()) {
      if (performance.now() > deadline) {
        throw new ApiaryError('unavailable', `cannot remove the test hosts ${name}: ${what} is still there`);
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  };
  for (const pid of roots) killRoot(pid);
  // The first process of a pid namespace is gone, or a zombie, only after every other one in there is.
  for (const pid of roots) retried(`process ${pid}`, () => ['Z', 'X', undefined].includes(processState(pid)));
  // The link would go with its other end's namespace, but some time later.
  if (existsSync(`/sys/class/net/${name}`)) spawnSync('ip', ['link', 'del', name], { stdio: 'ignore' });
  for (const cgroup of cgroupsOf(name)) retried(cgroup, () => cgroupRemoved(cgroup));
  const directory = join(LABS_DIRECTORY, name);
  retried(directory, () => directoryRemoved(directory));
}

/**
 * Kills a namespace's first process, and so all in there. It does not end before every other one is reaped, and the
 * parent of some is an nsenter outside, which stands still when the process inside was paused: it is woken.
 */
export function killRoot(root: number): void {
  signal(root, 'SIGKILL');
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (processState(pid) === 'T' && commandLine(pid).startsWith(`nsenter\0-t\0${root}\0`)) signal(pid, 'SIGCONT');
  }
}

/** A lab's cgroups: one tree for each v1 controller, or one in all in v2. */
function cgroupsOf(name: string): string[] {
  const mount = '/sys/fs/cgroup';
  if (!existsSync(mount)) return [];
  return [mount, ...directoriesIn(mount).map((controller) => join(mount, controller))]
    .map((parent) => join(parent, name))
    .filter((path) => existsSync(path));
}

function cgroupRemoved(path: string): boolean {
  for (const child of existsSync(path) ? directoriesIn(path) : []) cgroupRemoved(join(path, child));
  try {
    rmdirSync(path);
  } catch (error) {
    return systemCodeOf(error) === 'ENOENT';
  }
  return true;
}

function directoryRemoved(path: string): boolean {
  try {
    rmSync(path, { recursive: true, force: true });
    return true;
  } catch {
    // Busy or refilled: a process of the lab, or another sweep, is at work in it.
    return false;
  }
}

function directoriesIn(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
}

function ownerOf(name: string): Owner | 'newborn' | undefined {
  try {
    return JSON.parse(readFileSync(join(LABS_DIRECTORY, name, OWNER_FILE), 'utf8'));
  } catch {
    const made = statSync(join(LABS_DIRECTORY, name), { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    return Date.now() - made < NEWBORN_MS ? 'newborn' : undefined;
  }
}

function ownerNow(roots: readonly number[]): Owner {
  return { ...nameOf(process.pid), roots: roots.map(nameOf) };
}

function nameOf(pid: number): ProcessName {
  return { pid, startTicks: startTicks(pid) ?? 0 };
}

function isAlive(name: ProcessName): boolean {
  return processState(name.pid) !== 'Z' && startTicks(name.pid) === name.startTicks;
}

/** False when somebody has the name already. */
function renamed(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes(systemCodeOf(error) ?? '')) return false;
    throw error;
  }
}

function subnetOf(name: string): string {
  const octets = Number.parseInt(name.slice(2), 16);
  return `10.${octets >> 8}.${octets & 0xff}`;
}

/** The destinations of the machine's IPv4 routes, from /proc/net/route, where they stand in hexadecimal, backwards. */
function machineRoutes(): string[] {
  return readFileSync('/proc/net/route', 'utf8')
    .split('\n')
    .slice(1)
    .flatMap((line) => line.split('\t')[1] ?? [])
    .map((destination) => Buffer.from(destination, 'hex').reverse().join('.'));
}
