/**
 * What stacks cost: milliseconds for a file of 200 services to be read, checked and converted, first (as a command meets
 * it, in a process of its own) and again; for `swarmctl stack config` of a small file from the shell, beside `docker stack
 * config`; and seconds for a stack of 20 services with 60 tasks to run on three hosts, beside Docker Swarm on the same hosts.
 *
 *   node bench/dist/stacks/main.js [--runs 20] [--services 200] [--deploys 5]
 *
 * Without deploys it needs neither root nor test hosts.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { hostsUp } from '@apiary/test/hosts';
import { apiary, docker, form } from '../deploy/cluster.js';
import { spread, table } from '../statistics.js';
import { type Deployer, deployStack, stackFile } from './deploying.js';
import { largeFile } from './large-file.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    services: { type: 'string', default: '200' },
    deploys: { type: 'string', default: '5' },
  },
});
const runs = Number(values.runs);
const deploys = Number(values.deploys);
const count = Number(values.services);
const SWARMCTL = fileURLToPath(new URL('../../../bin/swarmctl', import.meta.url));
const READING = fileURLToPath(new URL('./reading.js', import.meta.url));

const folder = mkdtempSync(join(tmpdir(), 'apiary-stacks-'));
try {
  const written = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const large = written('large.yml', largeFile(count));
  const small = written('small.yml', 'services: {web: {image: nginx, ports: ["80:80"]}, db: {image: postgres}}\n');
  const first = Array.from({ length: runs }, () => readings(large, 1)).flat();
  const [, ...again] = readings(large, runs + 1);
  const [ours = [], theirs = []] = [SWARMCTL, 'docker'].map((tool) =>
    Array.from({ length: runs }, () => shell(tool, small)),
  );
  process.stdout.write(
    `${table([
      ['', 'milliseconds'],
      [`${count} services read, checked and converted, first`, spread(first)],
      [`${count} services read, checked and converted, again`, spread(again)],
      ['swarmctl stack config, small file, from the shell', spread(ours)],
      ['docker stack config, small file, from the shell', spread(theirs)],
    ])}\n`,
  );
  if (deploys > 0) process.stdout.write(`\n${table(await deployed(written('stack.yml', stackFile(20, 3)), 60))}\n`);
} finally {
  rmSync(folder, { recursive: true });
}

/** Milliseconds of one reading after the other, in one new process. */
function readings(path: string, times: number): number[] {
  const { status, stdout, stderr } = spawnSync(process.execPath, [READING, path, String(times)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout.trim().split('\n').map(Number);
}

function shell(tool: string, path: string): number {
  const startedAt = performance.now();
  const { status, stderr } = spawnSync(tool, ['stack', 'config', '-c', path], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${tool}: ${stderr}`);
  return performance.now() - startedAt;
}

/** Both clusters deploy the stack in turn. @returns the rows of a table */
async function deployed(file: string, tasks: number): Promise<string[][]> {
  const hosts = await hostsUp(3);
  try {
    await Promise.all(hosts.all.map((host) => host.startSwarmd()));
    await form(docker, hosts);
    await form(apiary, hosts);
    const host = hosts.host(1);
    const theirs: Deployer = { cluster: docker, run: (...words) => host.engineDocker(...words) };
    const ours: Deployer = { cluster: apiary, run: (...words) => host.swarmctl(...words) };
    const seen = { theirs: [] as number[], ours: [] as number[] };
    for (let run = -1; run < deploys; run++) {
      const a = await deployStack(theirs, hosts, file, tasks);
      const b = await deployStack(ours, hosts, file, tasks);
      if (run < 0) continue; // warm-up
      seen.theirs.push(a);
      seen.ours.push(b);
      process.stderr.write(`20 services, run ${run + 1}: ${a.toFixed(2)} ${b.toFixed(2)}\n`);
    }
    const ratios = seen.theirs.map((seconds, i) => seconds / (seen.ours[i] ?? Number.NaN));
    return [
      ['20 services with 60 tasks, on three hosts', 'seconds'],
      ['Docker Swarm, docker stack deploy', spread(seen.theirs)],
      ['Apiary, swarmctl stack deploy', spread(seen.ours)],
      ['Docker/Apiary', spread(ratios)],
    ];
  } finally {
    await hosts.down();
  }
}
