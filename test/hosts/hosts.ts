import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ApiaryError } from '@apiary/std';
import { Host, type Machine } from './host.js';
import { imageArchive } from './image.js';
import { Lab, sweep } from './lab.js';
import { Network } from './network.js';
import { DIES_WITH_US } from './process.js';
import { unixGetJson } from './unix-http.js';
import { until } from './until.js';

const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));

export interface HostsOptions {
  /**
   * Whether SIGINT, SIGTERM and SIGHUP remove the hosts and then end this process; default true. With false the
   * caller handles them: the hosts are still removed when the process exits.
   */
  signals?: boolean;
  /** Told of each step. */
  say?: (line: string) => void;
}

/** A machine's readiness, from scripts/requirements.mjs, which also runs where nothing is built yet. */
interface Requirements {
  missingPackages(): string[];
  checkMachine(): string[];
  toolEnvironment: NodeJS.ProcessEnv;
}

async function requirements(): Promise<Requirements> {
  return import(new URL('scripts/requirements.mjs', `file://${REPOSITORY}`).href);
}

/** What this machine lacks for test hosts, in sentences; empty when `hostsUp` can work. */
export async function missingForHosts(): Promise<string[]> {
  const { checkMachine, missingPackages } = await requirements();
  const packages = missingPackages();
  const install = `Debian packages are missing: apt-get install --no-install-recommends ${packages.join(' ')}`;
  return [...checkMachine(), ...(packages.length === 0 ? [] : [install])];
}

/**
 * Makes hosts h1 to hN on this machine, each with a Docker Engine that answers and has the test images. What dead
 * owners left behind is removed first.
 *
 * @param n  how many, at most 253
 * @throws ApiaryError `failed-precondition` that says what the machine lacks
 */
export async function hostsUp(n: number, options: HostsOptions = {}): Promise<Hosts> {
  const { signals = true, say = () => undefined } = options;
  if (!Number.isInteger(n) || n < 1 || n > 253) {
    throw new ApiaryError('invalid-argument', `${n} hosts: ask for 1 to 253`);
  }
  const missing = await missingForHosts();
  if (missing.length > 0) {
    throw new ApiaryError('failed-precondition', `test hosts cannot be made here. ${missing.join(' ')}`);
  }
  for (const name of sweep()) say(`removed ${name}, left behind by a run that was killed`);
  const machine = { repository: REPOSITORY, env: (await requirements()).toolEnvironment };
  const lab = Lab.claim(signals);
  try {
    const network = await makeNetwork(lab, machine);
    const hosts = Array.from({ length: n }, (_, i) => new Host(i + 1, lab, network, machine));
    await Promise.all(hosts.map((host) => host.powerOn()));
    const engines = Promise.all(hosts.map((host) => host.startEngine()));
    const [archive] = [imageArchive(), await engines];
    await Promise.all(hosts.map((host) => host.loadImages(archive)));
    return new Hosts(lab, hosts);
  } catch (error) {
    lab.remove();
    throw error;
  }
}

/** What is between hosts looks at no packet: it has no packet filter, which Linux would take every frame of a bridge through. */
const SWITCH = `for setting in /proc/sys/net/bridge/bridge-nf-call-*; do
  if [ -e "$setting" ]; then echo 0 >"$setting"; fi
done
echo up && exec sleep infinity`;

async function makeNetwork(lab: Lab, machine: Machine): Promise<Network> {
  const [program, ...setpriv] = DIES_WITH_US;
  const args = [...setpriv, 'unshare', '--net', 'sh', '-c', SWITCH, `${lab.name}-lan`];
  const holder = spawn(program, args, { env: machine.env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  const pid = await new Promise<number>((resolve, reject) => {
    holder.once('error', reject);
    holder.once('exit', () =>
      reject(new ApiaryError('internal', 'the bridge has no network namespace: unshare failed')),
    );
    holder.stdout.once('data', () => holder.pid !== undefined && resolve(holder.pid));
  });
  lab.addRoot(pid);
  holder.stdout.destroy();
  holder.unref();
  return Network.make(lab, pid, fileURLToPath(new URL('../../hosts/link-relay.pl', import.meta.url)));
}

export interface FormOptions {
  /** How many of the hosts, counted from h1, are managers; default 1. */
  managers?: number;
}

/** The node list's fields that forming a cluster looks at. */
interface ListedNode {
  Description: { Hostname: string };
  Status: { State: string };
}

/** The hosts of one lab. */
export class Hosts implements Iterable<Host> {
  constructor(
    readonly lab: Lab,
    readonly all: readonly Host[],
  ) {}

  get length(): number {
    return this.all.length;
  }

  [Symbol.iterator](): Iterator<Host> {
    return this.all[Symbol.iterator]();
  }

  /** Host number n, counted from 1. */
  host(n: number): Host {
    const host = this.all[n - 1];
    if (host === undefined) throw new ApiaryError('not-found', `host h${n}: there are h1 to h${this.length}`);
    return host;
  }

  /**
   * Makes a cluster of the hosts: starts swarmd where it does not run yet, initialises h1, joins the others at once,
   * and resolves when h1 lists all of them as ready.
   */
  async form(options: FormOptions = {}): Promise<void> {
    const { managers = 1 } = options;
    await Promise.all(this.all.filter((host) => !host.isSwarmdRunning).map((host) => host.startSwarmd()));
    const first = this.host(1);
    await first.mustSwarmctl('init', '--advertise-addr', first.address);
    const join = async (host: Host) => {
      const role = host.number <= managers ? 'manager' : 'worker';
      const token = (await first.mustSwarmctl('join-token', '-q', role)).trim();
      await host.mustSwarmctl('join', '--token', token, '--advertise-addr', host.address, `${first.address}:2377`);
    };
    await Promise.all(this.all.slice(1).map(join));
    await until(
      `${this.length} nodes to be ready`,
      async () => {
        const nodes = await unixGetJson<ListedNode[]>(first.swarmdSocket, '/nodes');
        const states = nodes.map((node) => `${node.Description.Hostname} ${node.Status.State}`);
        if (nodes.length === this.length && nodes.every((node) => node.Status.State === 'ready')) return true;
        throw new Error(states.join(', ') || 'no nodes');
      },
      { log: first.swarmdLog },
    );
  }

  /** Removes the hosts with everything in them. */
  async down(): Promise<void> {
    this.lab.remove();
  }
}
