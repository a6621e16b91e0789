/**
 * What reading stack files costs: milliseconds for a file of 200 services to be read, checked and converted, first (as a
 * command meets it) and again; and for `swarmctl stack config` of a small file from the shell, beside `docker stack config`.
 *
 *   node bench/dist/stacks/main.js [--runs 20] [--services 200]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { convertProject, loadProject } from '@apiary/stack-specs/io';
import { spread, table } from '../statistics.js';

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '20' }, services: { type: 'string', default: '200' } },
});
const runs = Number(values.runs);
const count = Number(values.services);
const SWARMCTL = fileURLToPath(new URL('../../../bin/swarmctl', import.meta.url));

function service(i: number): string {
  return `  svc-${i}:
    image: registry.example.com/team${i % 7}/svc:${i}.0
    environment: {INDEX: "${i}", PEER: "svc-${(i + 1) % count}:8080", TAG: "$\{TAG:-latest}"}
    ports: ["${20_000 + i}:80"]
    networks: [mesh]
    volumes: ["data-${i % 10}:/data", "./conf:/conf:ro"]
    healthcheck: {test: curl -f localhost, interval: 10s}
    deploy: {replicas: ${i % 5}, placement: {constraints: ["node.labels.rack == r${i % 4}"]}}
`;
}

const folder = mkdtempSync(join(tmpdir(), 'apiary-stacks-'));
try {
  const volumes = Array.from({ length: 10 }, (_, i) => `  data-${i}: {}\n`).join('');
  const services = Array.from({ length: count }, (_, i) => service(i)).join('');
  const large = join(folder, 'large.yml');
  writeFileSync(large, `services:\n${services}networks: {mesh: {}}\nvolumes:\n${volumes}`);
  const small = join(folder, 'small.yml');
  writeFileSync(small, 'services: {web: {image: nginx, ports: ["80:80"]}, db: {image: postgres}}\n');

  const readings = Array.from({ length: runs }, () => milliseconds(() => read(large)));
  const [first = 0, ...again] = readings;
  const shells = [SWARMCTL, 'docker'].map((tool) =>
    Array.from({ length: runs }, () => milliseconds(() => shell(tool, small))),
  );
  const [ours = [], theirs = []] = shells;
  process.stdout.write(
    `${table([
      ['', 'milliseconds'],
      [`${count} services read, checked and converted, first`, first.toFixed(0)],
      [`${count} services read, checked and converted, again`, spread(again)],
      ['swarmctl stack config, small file, from the shell', spread(ours)],
      ['docker stack config, small file, from the shell', spread(theirs)],
    ])}\n`,
  );
} finally {
  rmSync(folder, { recursive: true });
}

function read(path: string): void {
  const project = loadProject({ files: [path], envFiles: [], profiles: [], interpolate: true, environment: {} });
  const stack = convertProject(project, 'bench', true);
  if (stack?.services.length !== count) throw new Error('the file was not read');
}

function shell(tool: string, path: string): void {
  const { status, stderr } = spawnSync(tool, ['stack', 'config', '-c', path], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${tool}: ${stderr}`);
}

function milliseconds(work: () => void): number {
  const startedAt = performance.now();
  work();
  return performance.now() - startedAt;
}
