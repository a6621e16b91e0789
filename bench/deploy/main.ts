/**
 * How long a service takes from its creation to all of its replicas running, on three hosts: Docker Swarm, Apiary,
 * and the engines alone, in turn on the same hosts in one run.
 *
 *   node bench/dist/deploy/main.js [--runs 5] [--sizes 3,10,50] [--parallelism 6]
 *
 * The engines alone: the same containers created and started through each engine's API, so many at once a host.
 */
import { parseArgs } from 'node:util';
import { type Hosts, hostsUp, until } from '@apiary/test/hosts';
import { median, spread, table } from '../statistics.js';
import { apiary, type Cluster, docker, form, gone, running, sampleSpec } from './cluster.js';

/** How often the manager is asked, which costs it something: rarely enough to be a small part of what is measured. */
const pollMs = (replicas: number) => Math.max(10, replicas);

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

async function deploy(cluster: Cluster, hosts: Hosts, replicas: number): Promise<number> {
  const manager = cluster.clientOf(hosts.host(1));
  const name = `bench${replicas}`;
  const seconds = await timed(async () => {
    await manager.createService(sampleSpec(name, replicas));
    const all = async () => (await running(manager, name)).length === replicas;
    await until(`${replicas} replicas of ${cluster.name} to run`, all, {
      timeoutMs: 120_000,
      intervalMs: pollMs(replicas),
    });
  });
  await manager.removeService(name);
  await gone(hosts, name);
  return seconds;
}

async function engines(hosts: Hosts, replicas: number, parallelism: number): Promise<number> {
  const label = { 'com.docker.swarm.service.name': 'bare' };
  const onHost = async (host: (typeof hosts.all)[number], count: number) => {
    const engine = docker.clientOf(host);
    const ids: string[] = [];
    let left = count;
    const worker = async () => {
      while (left-- > 0) {
        const body = { Image: 'busybox:test', Cmd: ['sleep', '86400'], Labels: label, StopSignal: 'SIGKILL' };
        const { Id } = await engine.request<{ Id: string }>('POST', '/containers/create', { body });
        await engine.request('POST', `/containers/${Id}/start`);
        ids.push(Id);
      }
    };
    await Promise.all(Array.from({ length: parallelism }, worker));
    return async () => {
      for (const id of ids) await engine.request('DELETE', `/containers/${id}`, { query: { force: true } });
    };
  };
  const shares = hosts.all.map((host, i) => ({
    host,
    count: Math.floor((replicas + hosts.length - 1 - i) / hosts.length),
  }));
  let clean: (() => Promise<void>)[] = [];
  const seconds = await timed(async () => {
    clean = await Promise.all(shares.map(({ host, count }) => onHost(host, count)));
  });
  await Promise.all(clean.map((remove) => remove()));
  return seconds;
}

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    sizes: { type: 'string', default: '3,10,50' },
    parallelism: { type: 'string', default: '6' },
  },
});
const runs = Number(values.runs);
const hosts = await hostsUp(3);
try {
  await Promise.all(hosts.all.map((host) => host.startSwarmd()));
  await form(docker, hosts);
  await form(apiary, hosts);
  const rows = [
    ['replicas', 'Docker Swarm, s', 'Apiary, s', 'engines alone, s', 'Docker/Apiary', 'added, s', 'allowed, s'],
  ];
  for (const replicas of values.sizes.split(',').map(Number)) {
    const seen = { docker: [] as number[], apiary: [] as number[], engines: [] as number[] };
    for (let run = -1; run < runs; run++) {
      const a = await deploy(docker, hosts, replicas);
      const b = await deploy(apiary, hosts, replicas);
      const c = await engines(hosts, replicas, Number(values.parallelism));
      if (run < 0) continue; // warm-up
      seen.docker.push(a);
      seen.apiary.push(b);
      seen.engines.push(c);
      process.stderr.write(`${replicas} replicas, run ${run + 1}: ${a.toFixed(2)} ${b.toFixed(2)} ${c.toFixed(2)}\n`);
    }
    const ratios = seen.docker.map((seconds, i) => seconds / (seen.apiary[i] ?? Number.NaN));
    const added = seen.apiary.map((seconds, i) => seconds - (seen.engines[i] ?? Number.NaN));
    rows.push([
      `${replicas}`,
      spread(seen.docker),
      spread(seen.apiary),
      spread(seen.engines),
      spread(ratios),
      median(added).toFixed(3),
      (median(seen.engines) * 0.1 + 0.05).toFixed(3),
    ]);
  }
  process.stdout.write(`${table(rows)}\n`);
} finally {
  await hosts.down();
}
