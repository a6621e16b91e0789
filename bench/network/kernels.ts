import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Task } from '@apiary/api/model';
import { type Host, until } from '@apiary/test/hosts';
import { quantile, table } from '../statistics.js';
import { BenchCluster } from './cluster.js';

const PUBLISHED = 8080;

export interface KernelsOptions {
  hosts: number;
  times: number;
}

interface EngineEvent {
  Action: string;
  Actor: { ID: string };
  timeNano: number;
}

/**
 * From the moment that the engine of one host says of a container that its process has started, or has ended, until the
 * kernel of the last of all hosts leads what comes for its published port to it, or does so no more. Each kernel says so
 * itself (`nft monitor`). A task is killed, and replaced, again and again.
 */
export async function measureKernels({ hosts, times }: KernelsOptions): Promise<string> {
  const cluster = await BenchCluster.up(hosts);
  try {
    await cluster.network('front');
    const ports = [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: PUBLISHED }];
    const replicas = hosts;
    await cluster.run('web', { command: ['sleep', '1d'], replicas, networks: ['front'], ports });
    const watches = cluster.nodes.all.map((host) => new Watch(host));
    const [came, went]: [number[], number[]] = [[], []];
    try {
      for (let i = 0; i < times; i++) {
        const running = await tasksOf(cluster, replicas);
        const victim = running[i % running.length];
        const host = cluster.nodes.all.find(({ name }) => name === victim?.host);
        if (victim === undefined || host === undefined) throw new Error('no task');
        await host.engineDocker('kill', victim.container);
        const killed = await tasksOf(cluster, replicas);
        const next = killed.find(({ id }) => !running.some((each) => each.id === id));
        const home = cluster.nodes.all.find(({ name }) => name === next?.host);
        if (next === undefined || home === undefined) throw new Error('no task in its place');
        const gone = await Promise.all(watches.map((watch) => watch.without(victim.address)));
        const there = await Promise.all(watches.map((watch) => watch.having(next.address)));
        went.push(Math.max(...gone) - (await eventOf(host, victim.container, 'die')));
        came.push(Math.max(...there) - (await eventOf(home, next.container, 'start')));
        for (const watch of watches) watch.forget();
      }
    } finally {
      for (const watch of watches) watch.end();
    }
    const row = (values: number[]) => [0.5, 0.99, 1].map((q) => quantile(values, q).toFixed(0));
    return table([
      [`${times} changes, ${hosts} hosts`, 'p50, ms', 'p99', 'longest'],
      ['a task is led to by all kernels', ...row(came)],
      ['by none any more', ...row(went)],
    ]);
  } finally {
    await cluster.down();
  }
}

interface Placed {
  id: string;
  host: string;
  container: string;
  /** By which published ports lead to it. */
  address: string;
}

/** The tasks of the service, once all of them run. */
function tasksOf(cluster: BenchCluster, count: number): Promise<Placed[]> {
  return until(`${count} tasks`, async () => {
    const tasks: Task[] = await cluster.manager.tasks({ service: ['web'], 'desired-state': ['running'] });
    const running = new Map(tasks.filter(({ Status }) => Status.State === 'running').map((task) => [task.ID, task]));
    if (running.size !== count) return false;
    const placed: Placed[] = [];
    for (const host of cluster.nodes) {
      for (const { Id, Labels, State } of await host.engineContainers()) {
        const id = Labels['com.docker.swarm.task.id'] ?? '';
        if (State !== 'running' || !running.has(id)) continue;
        placed.push({ id, host: host.name, container: Id, address: Labels['apiary.gateway.address'] ?? '' });
      }
    }
    return placed.length === count && placed;
  });
}

/** When a host's engine said so of a container (ms since 1970). */
async function eventOf(host: Host, container: string, action: string): Promise<number> {
  const now = Date.now() / 1_000;
  const filters = ['--filter', `container=${container}`, '--filter', `event=${action}`];
  const window = ['--since', `${now - 60}`, '--until', `${now}`, '--format', '{{json .}}'];
  const { stdout } = await host.engineDocker('events', ...window, ...filters);
  const events: EngineEvent[] = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const [event] = events;
  if (event === undefined) throw new Error(`${host.name}: no ${action} of ${container}`);
  return event.timeNano / 1e6;
}

/** What a host's kernel says of the rule that the published port leads by. */
class Watch {
  readonly #host: Host;
  readonly #child: ChildProcess;
  #rules: { atMs: number; rule: string }[] = [];

  constructor(host: Host) {
    this.#host = host;
    const inHost = ['-t', `${host.pid}`, '--net', '--'];
    this.#child = spawn('nsenter', [...inHost, 'nft', 'monitor', 'new', 'rules'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (this.#child.stdout === null) throw new Error('no output');
    createInterface({ input: this.#child.stdout }).on('line', (rule) => {
      if (rule.includes(` tcp_${PUBLISHED} `)) this.#rules.push({ atMs: Date.now(), rule });
    });
  }

  /** When it first led to an address. */
  having(address: string): Promise<number> {
    return this.#first(`lead to ${address}`, (rule) => addressesIn(rule).has(address));
  }

  /** When it first did not. */
  without(address: string): Promise<number> {
    return this.#first(`lead to ${address} no more`, (rule) => !addressesIn(rule).has(address));
  }

  #first(what: string, fits: (rule: string) => boolean): Promise<number> {
    return until(`${this.#host.name} to ${what}`, () => this.#rules.find(({ rule }) => fits(rule))?.atMs, {
      timeoutMs: 5_000,
    });
  }

  forget(): void {
    this.#rules = [];
  }

  end(): void {
    this.#child.kill();
  }
}

function addressesIn(rule: string): Set<string> {
  return new Set(rule.match(/\b10\.\d+\.\d+\.\d+\b/g));
}
