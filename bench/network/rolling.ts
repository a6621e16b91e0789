import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { until } from '@apiary/test/hosts';
import { spread, table } from '../statistics.js';
import { BenchCluster } from './cluster.js';
import type { LoadOutcome, LoadSettings } from './http-load.js';

const [SERVER, LOAD] = ['./http-server.js', './http-load.js'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);
const PORT = 80;
const PUBLISHED = 8080;
const REPLICAS = 3;
/** That a task goes on answering for when it is told to stop, saying that each connection is over. */
const DRAIN_MS = 1_500;
const CONNECTIONS = { short: 6, kept: 6, idle: 6, pauseMs: 10, idleMs: 4_000 };

export interface RollingOptions {
  updates: number;
  requests: number;
}

/** Load from outside by all hosts' ports, and from another service by the VIP, while the service is updated again and again. */
export async function measureRolling({ updates, requests }: RollingOptions): Promise<string> {
  const cluster = await BenchCluster.up(REPLICAS);
  try {
    await cluster.network('front');
    await cluster.run('web', {
      command: [process.execPath, SERVER ?? '', `${PORT}`, `${DRAIN_MS}`],
      replicas: REPLICAS,
      networks: ['front'],
      ports: [{ Protocol: 'tcp', TargetPort: PORT, PublishedPort: PUBLISHED }],
      container: {
        StopSignal: 'SIGTERM',
        StopGracePeriod: 10e9,
        Healthcheck: { Test: ['CMD-SHELL', `nc -w1 127.0.0.1 ${PORT} </dev/null`], Interval: 5e8, Timeout: 2e9 },
      },
    });
    const [asker] = await cluster.run('asker', { command: ['sleep', '1d'], networks: ['front'] });
    if (asker === undefined) throw new Error('no task to ask from');
    const outside = settingsFor(cluster.nodes.all.map(({ address }) => `${address}:${PUBLISHED}`));
    const inside = settingsFor([`${await cluster.vip('web', 'front')}:${PORT}`]);
    const loads = [
      new Load('from outside', [process.execPath, LOAD ?? '', outside]),
      new Load('from another service', [
        'docker',
        ...BenchCluster.within(asker, [process.execPath, LOAD ?? '', inside]),
      ]),
    ];
    const seconds: number[] = [];
    for (let update = 1; update <= updates; update++) {
      const started = performance.now();
      await rollOver(cluster, update);
      seconds.push((performance.now() - started) / 1000);
      process.stderr.write(`update ${update}: ${seconds.at(-1)?.toFixed(1)} s; ${loads.map(sayLoad).join('; ')}\n`);
    }
    const all = () => loads.reduce((sum, { outcome }) => sum + answeredOf(outcome), 0);
    await until(`${requests} requests`, () => all() >= requests, { timeoutMs: 600_000, intervalMs: 500 });
    const rows = await Promise.all(loads.map((load) => load.end()));
    for (const { name, outcome } of loads) {
      for (const failure of outcome.failures.slice(0, 20)) process.stderr.write(`${name}: ${failure}\n`);
    }
    return table([
      [
        `${updates} updates, ${spread(seconds, 1)} s each`,
        'short',
        'kept',
        'idle',
        'kept ones closed',
        'crossed',
        'failed',
      ],
      ...rows,
    ]);
  } finally {
    await cluster.down();
  }
}

const settingsFor = (targets: string[]): string => JSON.stringify({ targets, ...CONNECTIONS } satisfies LoadSettings);
const answeredOf = ({ answered }: LoadOutcome): number => answered.short + answered.kept + answered.idle;
const sayLoad = ({ outcome }: Load): string => `${answeredOf(outcome)} answered, ${outcome.failures.length} failed`;

/** A process that asks. */
class Load {
  outcome: LoadOutcome = { answered: { short: 0, kept: 0, idle: 0 }, replaced: 0, crossed: 0, failures: [] };
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;

  constructor(
    readonly name: string,
    [program = '', ...args]: readonly string[],
  ) {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.outcome = JSON.parse(line);
    });
    this.#closed = once(child, 'close');
    this.#child = child;
  }

  async end(): Promise<string[]> {
    this.#child.stdin?.end();
    await this.#closed;
    const { answered, replaced, crossed, failures } = this.outcome;
    const numbers = [answered.short, answered.kept, answered.idle, replaced, crossed, failures.length];
    return [this.name, ...numbers.map(String)];
  }
}

/** Gives the service's tasks another environment, and resolves once all that run have it and the old ones are gone. */
async function rollOver({ manager, nodes }: BenchCluster, update: number): Promise<void> {
  const { ID, Version, Spec } = await manager.service('web');
  const { TaskTemplate } = Spec;
  const env = `UPDATE=${update}`;
  await manager.updateService(ID, Version.Index, {
    ...Spec,
    TaskTemplate: { ...TaskTemplate, ContainerSpec: { ...TaskTemplate.ContainerSpec, Env: [env] } },
    UpdateConfig: { Parallelism: 1, Order: 'start-first' },
  });
  const isDone = async () => {
    const tasks = await manager.tasks({ service: [ID] });
    const current = tasks.filter(({ Spec }) => Spec.ContainerSpec?.Env?.includes(env));
    const others = tasks.filter((task) => !current.includes(task));
    const ended = others.every(({ Status }) => Status.State !== 'running');
    return ended && current.filter(({ Status }) => Status.State === 'running').length === REPLICAS;
  };
  await until(`update ${update}`, isDone, { timeoutMs: 120_000, intervalMs: 200, log: nodes.host(1).swarmdLog });
}
