/**
 * Where the time of a start goes, and what the engines leave to gain: seconds until all containers run, Docker Swarm
 * beside the engines' own API, with so many containers under way at once a host, and with other networks.
 *
 *   node bench/dist/starts/main.js [--runs 5] [--replicas 50]
 */
import { parseArgs } from 'node:util';
import { hostsUp } from '@apiary/test/hosts';
import { docker, form } from '../deploy/cluster.js';
import { deploy, type EngineOptions, engines } from '../deploy/deployments.js';
import { median, spread, table } from '../statistics.js';

const WAYS: [string, EngineOptions][] = [
  ...[1, 2, 3, 6, 10].map((parallelism): [string, EngineOptions] => [
    `engines, ${parallelism} at once, bridge network`,
    { parallelism },
  ]),
  ['engines, 6 at once, network none', { parallelism: 6, hostConfig: { NetworkMode: 'none' } }],
  ['engines, 6 at once, network host', { parallelism: 6, hostConfig: { NetworkMode: 'host' } }],
  ['engines, 6 at once, network disabled', { parallelism: 6, config: { NetworkDisabled: true } }],
];

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '5' }, replicas: { type: 'string', default: '50' } },
});
const runs = Number(values.runs);
const replicas = Number(values.replicas);
const hosts = await hostsUp(3);
try {
  await form(docker, hosts);
  const swarm: number[] = [];
  const ways = new Map<string, number[]>(WAYS.map(([name]) => [name, []]));
  for (let run = -1; run < runs; run++) {
    const seconds = await deploy(docker, hosts, replicas);
    if (run >= 0) swarm.push(seconds);
    for (const [name, options] of WAYS) {
      const taken = await engines(hosts, replicas, options);
      if (run >= 0) ways.get(name)?.push(taken);
    }
    process.stderr.write(run < 0 ? 'warm-up done\n' : `run ${run + 1} of ${runs} done\n`);
  }
  const ratioTo = (seconds: number[]) => (median(swarm) / median(seconds)).toFixed(2);
  process.stdout.write(
    `${table([
      [`${replicas} containers`, 'seconds', 'Docker Swarm / this'],
      ['Docker Swarm', spread(swarm), '1.00'],
      ...[...ways].map(([name, seconds]) => [name, spread(seconds), ratioTo(seconds)]),
    ])}\n`,
  );
} finally {
  await hosts.down();
}
