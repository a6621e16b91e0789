/**
 * What an idle swarmd keeps in memory: three nodes, ten tasks, a minute after the last of them started.
 *
 *   node bench/dist/resident/main.js [--idle-seconds 60]
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { hostsUp, until } from '@apiary/test/hosts';
import { apiary, form, running, sampleSpec } from '../deploy/cluster.js';
import { table } from '../statistics.js';

const { values } = parseArgs({ options: { 'idle-seconds': { type: 'string', default: '60' } } });

/** Resident set of a process, MiB. Source: proc(5), /proc/PID/status, in kB. */
function residentMiB(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}

const hosts = await hostsUp(3);
try {
  await Promise.all(hosts.all.map((host) => host.startSwarmd()));
  await form(apiary, hosts);
  const manager = apiary.clientOf(hosts.host(1));
  await manager.createService(sampleSpec('idle', 10));
  await until('ten tasks to run', async () => (await running(manager, 'idle')).length === 10);
  await new Promise((resolve) => setTimeout(resolve, Number(values['idle-seconds']) * 1000));
  const rows = hosts.all.map((host, i) => [
    host.name,
    i === 0 ? 'manager and worker' : 'worker',
    residentMiB(host.swarmdPid).toFixed(1),
  ]);
  process.stdout.write(`${table([['host', 'role', 'resident, MiB'], ...rows])}\n`);
} finally {
  await hosts.down();
}
