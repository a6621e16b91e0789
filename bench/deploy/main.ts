/**
 * How long a service takes from its creation to all of its replicas running, on three hosts: Docker Swarm, Apiary,
 * and the engines alone, in turn on the same hosts in one run.
 *
 *   node bench/dist/deploy/main.js [--runs 5] [--sizes 3,10,50] [--parallelism 6]
 *
 * The engines alone: the same containers created and started through each engine's API, so many at once a host.
 */
import { parseArgs } from 'node:util';
import { hostsUp } from '@apiary/test/hosts';
import { median, spread, table } from '../statistics.js';
import { apiary, docker, form } from './cluster.js';
import { deploy, engines } from './deployments.js';

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
      const c = await engines(hosts, replicas, { parallelism: Number(values.parallelism) });
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
