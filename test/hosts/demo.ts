import { join } from 'node:path';
import { messageOf } from '@apiary/std';
import { type Hosts, hostsUp } from './hosts.js';
import { watchInterruption } from './interruption.js';
import { until } from './until.js';

const HELP = `Makes three hosts on this machine, a cluster of them, and runs a service with 3 replicas on it.

  npm start               until Ctrl-C, which removes everything
  npm start -- --once     ends as soon as all has been shown`;

const HOST_COUNT = 3;
const PORT = 8080;
const SERVICE = ['--name', 'web', '--replicas', '3', '--publish', `mode=host,target=80,published=${PORT}`];
const WEB_SERVER = 'echo "hello from container $(hostname)" > /tmp/index.html; exec httpd -f -p 80 -h /tmp';

/**
 * The demo behind `npm start`: prints each step as it happens. The hosts are gone when this returns.
 *
 * @returns the exit code: 0, 1 after a failure (which it has printed), or 130 when interrupted before all was shown
 */
export async function demo(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    console.log(HELP);
    return 0;
  }
  const unknown = args.find((arg) => arg !== '--once');
  if (unknown !== undefined) {
    console.error(`unknown option "${unknown}"\n\n${HELP}`);
    return 1;
  }
  const interruption = watchInterruption();
  const interrupted = interruption.happened.then(() => 'interrupted' as const);
  const show = new Show(performance.now());
  let hosts: Hosts | undefined;
  try {
    const up = hostsUp(HOST_COUNT, { signals: false, say: (line) => show.step(line) });
    show.step(`making ${HOST_COUNT} hosts, each with its own network, processes and Docker Engine`);
    hosts = await up;
    if ((await Promise.race([present(hosts, show), interrupted])) === 'interrupted') return 130;
    if (args.includes('--once')) return 0;
    console.log('\nPress Ctrl-C to remove it all.');
    await interrupted;
    return 0;
  } catch (error) {
    console.error(`\nthe demo failed: ${messageOf(error)}`);
    return 1;
  } finally {
    if (hosts !== undefined) show.step('removing the hosts');
    await hosts?.down();
    interruption.stop();
  }
}

/** Takes the hosts from nothing to a service that answers, and shows how to use it. */
async function present(hosts: Hosts, show: Show): Promise<void> {
  const first = hosts.host(1);
  show.step(`up: ${hosts.all.map((host) => `${host.name} ${host.address}`).join(', ')}`);
  show.step('starting swarmd on each');
  await Promise.all(hosts.all.map((host) => host.startSwarmd()));
  show.step('forming the cluster: swarmctl init on h1, swarmctl join on the others');
  await hosts.form();
  show.step(`running a service: swarmctl service create ${SERVICE.join(' ')} busybox:test ...`);
  await first.mustSwarmctl('service', 'create', ...SERVICE, 'busybox:test', 'sh', '-c', WEB_SERVER);
  show.step('all 3 replicas run');
  for (const args of [
    ['node', 'ls'],
    ['service', 'ps', 'web'],
  ]) {
    console.log(`\n$ swarmctl ${args.join(' ')}`);
    console.log((await first.mustSwarmctl(...args)).trimEnd());
  }
  console.log('\nThe service answers on each host:');
  for (const host of hosts) {
    const url = `http://${host.address}:${PORT}/`;
    console.log(`  $ curl ${url}\n  ${(await answerOf(url)).trim()}`);
  }
  const swarmctl = join(first.machine.repository, 'bin', 'swarmctl');
  console.log('\nTry it from another terminal:');
  console.log(`  ${swarmctl} --host unix://${first.swarmdSocket} service ls`);
  console.log(`  ${swarmctl} --host unix://${first.swarmdSocket} service scale web=1`);
  console.log(`  DOCKER_HOST=unix://${first.swarmdSocket} docker service ls`);
  console.log(`  tail -f ${first.swarmdLog}`);
}

function answerOf(url: string): Promise<string> {
  const ask = async () => {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000), headers: { connection: 'close' } });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.text();
  };
  return until(`${url} to answer`, ask, { timeoutMs: 10_000 });
}

/** Prints steps with the seconds since the start. */
class Show {
  constructor(readonly startedMs: number) {}

  step(line: string): void {
    const seconds = ((performance.now() - this.startedMs) / 1000).toFixed(1);
    console.log(`[${seconds.padStart(5)} s] ${line}`);
  }
}
