import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '@apiary/test/hosts';
import { answerOfProgram } from '../debian-package.js';
import { freePorts } from './scratch.js';
import { MEMBERS, type Subject } from './subject.js';

/** Debian's etcd; installed when it is missing. */
export function etcdVersion(): string {
  const said = answerOfProgram(['etcd', '--version'], 'etcd-server');
  const version = said.match(/Version: (\S+)/)?.[1];
  if (version === undefined) throw new Error(`etcd does not say its version: ${said}`);
  return version;
}

/** Starts three members of etcd as Debian ships it; between each other they speak TLS, as our managers do. */
export async function startEtcd(directory: string): Promise<Subject> {
  const ports = await freePorts(2 * MEMBERS);
  const peer = (i: number) => `https://127.0.0.1:${ports[i]}`;
  const client = (i: number) => `http://127.0.0.1:${ports[MEMBERS + i]}`;
  const numbers = Array.from({ length: MEMBERS }, (_, i) => i);
  const cluster = numbers.map((i) => `m${i}=${peer(i)}`).join(',');
  const members: ChildProcess[] = numbers.map((i) => {
    const args = ['--name', `m${i}`, '--data-dir', join(directory, `etcd-${i}`), '--log-level', 'error'];
    args.push('--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i), '--peer-auto-tls');
    args.push('--listen-client-urls', client(i), '--advertise-client-urls', client(i));
    args.push('--initial-cluster', cluster, '--initial-cluster-state', 'new', '--quota-backend-bytes', '8000000000');
    const log = openSync(join(directory, `etcd-${i}.log`), 'a');
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'etcd', ...args], { stdio: ['ignore', log, log] });
    closeSync(log);
    return child;
  });
  const leaderAddress = () =>
    until('etcd to have a leader', async () => {
      for (const i of numbers) {
        const answer = await fetch(`${client(i)}/v3/maintenance/status`, { method: 'POST', body: '{}' });
        const { header, leader } = (await answer.json()) as { header: { member_id: string }; leader?: string };
        if (leader !== undefined && leader === header.member_id) return `127.0.0.1:${ports[MEMBERS + i]}`;
      }
      return undefined;
    });
  await leaderAddress();
  return {
    name: `etcd ${etcdVersion()}`,
    leaderAddress,
    stop: async () => {
      for (const member of members) {
        if (member.exitCode !== null || member.signalCode !== null) continue;
        const exited = once(member, 'exit');
        member.kill('SIGTERM');
        await exited;
      }
    },
  };
}
