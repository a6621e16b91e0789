import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Cluster, type PlacedContainer, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';
import type { NameHeard, NamesAsked } from './name-asker.js';
import { addressOf, healedAfterScaleUp, NetworkBed, pidsOf, unreached } from './network-bed.js';

const ASKER = fileURLToPath(new URL('./name-asker.js', import.meta.url));
const HEALTHY = { Test: ['CMD-SHELL', 'true'], Interval: 3e8, Timeout: 2e9, Retries: 5 };

/** Asks again and again what a name stands for, as a task. */
class Asker {
  readonly heard: NameHeard[] = [];
  #outcome: NamesAsked | undefined;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;

  static async start({ host, Id, Labels }: PlacedContainer, name: string, perSecond: number): Promise<Asker> {
    const [pid = ''] = await pidsOf(host, [Id]);
    const server = (Labels['apiary.gateway.address'] ?? '').replace(/\d+$/, '1');
    const inHost = ['-t', `${host.pid}`, '--mount', '--net', '--pid', '--', 'nsenter', '-t', pid, '--net', '--'];
    return new Asker(spawn('nsenter', [...inHost, process.execPath, ASKER, server, name, `${perSecond}`]));
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#closed = once(child, 'close');
    if (child.stdout === null) throw new Error('no output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said: NameHeard | NamesAsked = JSON.parse(line);
      if ('addresses' in said) this.heard.push(said);
      else this.#outcome = said;
    });
  }

  /** When the name first stood for an address; undefined when it never did. */
  since(address: string): number | undefined {
    return this.heard.find(({ addresses }) => addresses.includes(address))?.atMs;
  }

  /** When it did no more. */
  until(address: string): number | undefined {
    const at = this.heard.findLastIndex(({ addresses }) => addresses.includes(address));
    return at < 0 ? undefined : this.heard[at + 1]?.atMs;
  }

  async end(): Promise<NamesAsked> {
    this.#child.stdin?.end();
    await this.#closed;
    if (this.#outcome === undefined) throw new Error('the asker has not said how it went');
    return this.#outcome;
  }
}

interface EngineEvent {
  Action: string;
  Actor: { ID: string };
  timeNano: number;
}

/** What a host's engine did to its containers, and when (ms since 1970). */
async function eventsOf(host: Host, sinceMs: number): Promise<{ action: string; id: string; atMs: number }[]> {
  const window = ['--since', `${sinceMs / 1_000}`, '--until', `${Date.now() / 1_000}`];
  const { stdout } = await host.engineDocker(
    'events',
    ...window,
    '--filter',
    'type=container',
    '--format',
    '{{json .}}',
  );
  const events: EngineEvent[] = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  return events.map(({ Action, Actor, timeNano }) => ({ action: Action, id: Actor.ID, atMs: timeNano / 1e6 }));
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

t.setTimeout(400_000);
t.test('on eight hosts', { skip: skipWithoutHosts }, async (t) => {
  const bed = new NetworkBed(await Cluster.up(t, 8));
  const { cluster } = bed;

  await t.test(
    'after a partition during a scale-up, each endpoint reaches each other within five seconds',
    async (t) => {
      await bed.network(t, 'front');
      const before = await bed.run(t, 'web', { replicas: 8, networks: ['front'] });
      t.equal(new Set(before.map(({ host }) => host)).size, 8);
      t.same(await unreached(before), []);
      const tookMs = await healedAfterScaleUp(bed, 'web', bed.hosts.slice(-3));
      t.ok(tookMs < 5_000, `${tookMs.toFixed(0)} ms`);
    },
  );

  await t.test(
    'a name stands for a task soon after it is healthy, until it is to stop, however often it is asked',
    async (t) => {
      const PER_SECOND = 5_000;
      await bed.network(t, 'front');
      const asking = await bed.one(t, 'asking', { host: 2, networks: ['front'] });
      const container = { Healthcheck: HEALTHY, StopSignal: 'SIGTERM', StopGracePeriod: 1e9 };
      await bed.run(t, 'web', { networks: ['front'], container, script: 'trap "exit 0" TERM; sleep 1d & wait' });
      const startedMs = Date.now();
      const asker = await Asker.start(asking, 'tasks.web', PER_SECOND);
      t.teardown(() => asker.end().catch(() => {}));
      await until('the first answer', () => asker.heard.length > 0);
      const { swarmdPid } = asking.host;
      const descriptors = () => readdirSync(`/proc/${swarmdPid}/fd`).length;
      const residentBytes = () => Number(readFileSync(`/proc/${swarmdPid}/statm`, 'utf8').split(' ')[1]) * 4_096;

      const later: number[] = [];
      const earlier: number[] = [];
      let [warmBytes, warmDescriptors] = [0, 0];
      for (let round = 0; round < 4; round++) {
        await bed.scale('web', 4);
        const containers = await cluster.settled('web', 4);
        await until('the name to stand for all', () => asker.heard.at(-1)?.addresses.length === 4);
        await bed.scale('web', 1);
        const [left] = await cluster.settled('web', 1);
        await until('the name to stand for one', () => asker.heard.at(-1)?.addresses.length === 1);
        const events = (await Promise.all(bed.hosts.map((host) => eventsOf(host, startedMs)))).flat();
        for (const each of containers.filter(({ Id }) => Id !== left?.Id)) {
          const at = (action: string) =>
            events.find((event) => event.id === each.Id && event.action.startsWith(action));
          later.push((asker.since(addressOf(each)) ?? Number.NaN) - (at('health_status: healthy')?.atMs ?? 0));
          earlier.push((at('kill')?.atMs ?? 0) - (asker.until(addressOf(each)) ?? Number.NaN));
        }
        asker.heard.splice(0, asker.heard.length - 1);
        if (round === 1) [warmBytes, warmDescriptors] = [residentBytes(), descriptors()];
      }
      const grownBytes = residentBytes() - warmBytes;
      t.ok(Math.abs(descriptors() - warmDescriptors) <= 4, 'no descriptor is left open');
      const { asked, failed, unheard } = await asker.end();
      t.equal(failed, 0, `of ${asked}, and ${unheard} were answered that the asker had no room for`);
      const seconds = (Date.now() - startedMs) / 1_000;
      t.ok(asked > 0.5 * seconds * PER_SECOND, `${asked} in ${seconds.toFixed(1)} s`);
      t.ok(grownBytes < 16 * 2 ** 20, `swarmd has grown by ${(grownBytes / 2 ** 20).toFixed(1)} MiB`);
      t.ok(median(later) <= 200, `healthy for ${later.map(Math.round)} ms`);
      t.ok(Math.min(...earlier) >= 0, `to stop in ${earlier.map(Math.round)} ms`);
    },
  );
});
