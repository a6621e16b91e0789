/**
 * What an idle swarmd keeps in memory: three nodes, ten tasks, a minute after the last of them started; as many times over
 * as asked, each with new hosts.
 *
 *   node bench/dist/resident/main.js [--idle-seconds 60] [--runs 1]
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { hostsUp, until } from '@apiary/test/hosts';
import { apiary, form, running, sampleSpec } from '../deploy/cluster.js';
import { spread, table } from '../statistics.js';

const { values } = parseArgs({
  options: { 'idle-seconds': { type: 'string', default: '60' }, runs: { type: 'string', default: '1' } },
});

/** Resident set of a process, MiB. Source: proc(5), /proc/PID/status, in kB. */
function residentMiB(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}

/** Of each host in turn, the first of which has the manager. */
async function measure(): Promise<number[]> {
  const hosts = await hostsUp(3);
  try {
    await Promise.all(hosts.all.map((host) => host.startSwarmd()));
    await form(apiary, hosts);
    const manager = apiary.clientOf(hosts.host(1));
    await manager.createService(sampleSpec('idle', 10));
    await until('ten tasks to run', async () => (await running(manager, 'idle')).length === 10);
    await new Promise((resolve) => setTimeout(resolve, Number(values['idle-seconds']) * 1000));
    return hosts.all.map(({ swarmdPid }) => residentMiB(swarmdPid));
  } finally {
    await hosts.down();
  }
}

const roles = ['manager and worker', 'worker', 'worker'];
const seen: number[][] = roles.map(() => []);
for (let run = 0; run < Number(values.runs); run++) {
  for (const [i, resident] of (await measure()).entries()) seen[i]?.push(resident);
}
const rows = roles.map((role, i) => [`h${i + 1}`, role, spread(seen[i] ?? [], 1)]);
process.stdout.write(`${table([['host', 'role', 'resident, MiB'], ...rows])}\n`);
