import { type Hosts, until } from '@apiary/test/hosts';
import { type Cluster, gone } from '../deploy/cluster.js';

/** How a stack is deployed and removed on one of two clusters, by the command line that belongs to it. */
export interface Deployer {
  cluster: Cluster;
  /** Of the words after the program's name, such as `stack rm bench`. */
  run(...words: string[]): Promise<{ code: number; stderr: string }>;
}

/** A stack of `services` services of `replicas` tasks each, on a network of its own. */
export function stackFile(services: number, replicas: number): string {
  const service = (i: number) => `  svc-${i}:
    image: busybox:test
    command: sleep 86400
    networks: [mesh]
    stop_signal: SIGKILL
    deploy: {replicas: ${replicas}}
`;
  return `services:\n${Array.from({ length: services }, (_, i) => service(i)).join('')}networks: {mesh: {}}\n`;
}

/** Seconds from starting the command line to all tasks of the stack running. The stack is removed again. */
export async function deployStack(
  { cluster, run }: Deployer,
  hosts: Hosts,
  file: string,
  tasks: number,
): Promise<number> {
  const manager = cluster.clientOf(hosts.host(1));
  const must = async (...words: string[]) => {
    const { code, stderr } = await run(...words);
    if (code !== 0) throw new Error(`${cluster.name}: ${words.join(' ')}: ${stderr}`);
  };
  const startedAt = performance.now();
  await must('stack', 'deploy', '--detach=true', '--resolve-image', 'never', '-c', file, 'bench');
  const running = async () => {
    const all = await manager.tasks({ 'desired-state': ['running'] });
    return all.filter(({ Status }) => Status.State === 'running').length === tasks;
  };
  await until(`${tasks} tasks of ${cluster.name} to run`, running, { timeoutMs: 120_000, intervalMs: 50 });
  const seconds = (performance.now() - startedAt) / 1000;
  const names = (await manager.services()).map(({ Spec }) => Spec.Name ?? '');
  await must('stack', 'rm', 'bench');
  for (const name of names) await gone(hosts, name);
  await until(`the stack's network to go`, async () => {
    const networks = await manager.networks({ label: ['com.docker.stack.namespace=bench'] });
    return networks.length === 0;
  });
  return seconds;
}
