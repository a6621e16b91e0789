/**
 * How long it takes to give a network namespace its interface on the gateway network: what is added to the start of each
 * container. In a network namespace of its own, so many attached at once.
 *
 *   node bench/dist/attach/main.js [--count 200] [--at-once 6]
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createNetworkNamespace, deleteNetworkNamespace } from '@apiary/agent-native';
import { GatewayNetwork, removeGatewayNetwork } from '@apiary/overlay-net/io';
import { SystemClock } from '@apiary/std/io';
import { quantile, table } from '../statistics.js';

const INSIDE = 'APIARY_BENCH_NETWORK';
if (process.env[INSIDE] === undefined) {
  const args = ['--net', process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const { status } = spawnSync('unshare', args, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  process.exit(status ?? 1);
}

const { values } = parseArgs({
  options: { count: { type: 'string', default: '200' }, 'at-once': { type: 'string', default: '6' } },
});
const count = Number(values.count);
const silent = { info: () => {}, warn: () => {} };
mkdirSync('/run/netns', { recursive: true });
const paths = Array.from({ length: count }, (_, i) => `/run/netns/apiary-bench-${process.pid}-${i}`);
for (const path of paths) await createNetworkNamespace(path);
const gateway = await GatewayNetwork.open({ subnet: '10.224.0.0/16', clock: new SystemClock(), logger: silent });
try {
  const taken: number[] = [];
  let next = 0;
  const attachSome = async () => {
    for (let i = next++; i < count; i = next++) {
      const started = performance.now();
      await gateway.attach({ path: paths[i] ?? '' }, `10.224.${1 + Math.floor(i / 250)}.${(i % 250) + 1}`);
      taken.push(performance.now() - started);
    }
  };
  await Promise.all(Array.from({ length: Number(values['at-once']) }, attachSome));
  const row = [0.5, 0.9, 0.99, 1].map((q) => quantile(taken, q).toFixed(1));
  process.stdout.write(
    `${table([
      ['attached', 'p50, ms', 'p90', 'p99', 'longest'],
      [`${count}`, ...row],
    ])}\n`,
  );
} finally {
  await gateway.close();
  await removeGatewayNetwork();
  for (const path of paths) await deleteNetworkNamespace(path);
}
