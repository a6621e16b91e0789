import { fileURLToPath } from 'node:url';
import { type Host, until } from '@apiary/test/hosts';
import { answerOfProgram } from '../debian-package.js';
import { spread, table } from '../statistics.js';
import { BenchCluster, type Running } from './cluster.js';

const SERVER = fileURLToPath(new URL('./http-server.js', import.meta.url));
const PUBLISHED = 8080;
const PORT = 80;
/** The task's end and its host's of the link that the plain routes go over. */
const [PLAIN, PLAIN_HOST, PLAIN_NET] = ['192.0.2.2', '192.0.2.1', '192.0.2.0/30'];

export interface IngressOptions {
  runs: number;
  seconds: number;
  clients: number;
}

interface Rate {
  perSecond: number;
  errors: number;
}

/**
 * Each way in turn, from a third host: a port of h1 whose task is on h2, and plain routes to an address of the task, by way of
 * h1 both ways as the port's packets go, and straight to h2, which has two hops less of what all share here: one machine's cores.
 */
export async function measureIngress({ runs, seconds, clients }: IngressOptions): Promise<string> {
  answerOfProgram(['wrk', '--version'], 'wrk');
  const cluster = await BenchCluster.up(2, 1);
  try {
    const [entry, home, outside] = [cluster.host(1), cluster.host(2), cluster.host(3)];
    const [task] = await cluster.run('web', {
      command: [process.execPath, SERVER, `${PORT}`, '0'],
      host: 2,
      ports: [{ Protocol: 'tcp', TargetPort: PORT, PublishedPort: PUBLISHED }],
      container: { StopSignal: 'SIGTERM' },
    });
    if (task === undefined) throw new Error('no task');
    await routePlainly(entry, home, task);
    const wayTo = (name: string, through: Host, url: string) => ({
      name,
      through,
      url,
      rates: [] as number[],
      errors: 0,
    });
    const around = wayTo('plain route by way of h1', entry, `http://${PLAIN}:${PORT}/`);
    const port = wayTo('port of h1', entry, `http://${entry.address}:${PUBLISHED}/`);
    const direct = wayTo('plain route straight to h2', home, `http://${PLAIN}:${PORT}/`);
    const own = wayTo('port of h2', home, `http://${home.address}:${PUBLISHED}/`);
    const ways = [around, port, direct, own];
    for (const { through, url } of ways) {
      await leadBy(outside, through, home);
      await until(`an answer by ${url}`, () => must(outside, `curl -sfm2 ${url}`));
    }
    for (let round = -1; round < runs; round++) {
      for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
        await leadBy(outside, way.through, home);
        const { perSecond, errors } = await wrk(outside, way.url, { clients, seconds });
        process.stderr.write(`${way.name}: ${perSecond.toFixed(0)} a second, ${errors} errors\n`);
        way.errors += errors;
        if (round >= 0) way.rates.push(perSecond); // the one before is for warming up
      }
    }
    const beside = (rates: number[], reference: { rates: number[] }) =>
      spread(rates.map((rate, i) => rate / (reference.rates[i] ?? Number.NaN)));
    return table([
      [`${clients} clients`, 'requests/s', 'beside the route by h1', 'beside the one to h2', 'errors'],
      ...ways.map(({ name, rates, errors }) => [
        name,
        spread(rates, 0),
        beside(rates, around),
        beside(rates, direct),
        `${errors}`,
      ]),
    ]);
  } finally {
    await cluster.down();
  }
}

/** A link of its own into the task, which answers over it what comes in by it. */
async function routePlainly(entry: Host, home: Host, task: Running): Promise<void> {
  const inside = `nsenter -t ${task.pid} --net --`;
  await must(
    home,
    `ip link add plain type veth peer name plain netns ${task.pid}
    ip addr add ${PLAIN_HOST}/30 dev plain; ip link set plain up
    ${inside} ip addr add ${PLAIN}/30 dev plain; ${inside} ip link set plain up
    ${inside} ip route add default via ${PLAIN_HOST} table 100; ${inside} ip rule add from ${PLAIN} table 100`,
  );
  await must(entry, `ip route add ${PLAIN_NET} via ${home.address}`);
  for (const host of [entry, home]) {
    await must(
      host,
      `sysctl -qw net.ipv4.ip_forward=1
      iptables -I FORWARD -s ${PLAIN_NET} -j ACCEPT; iptables -I FORWARD -d ${PLAIN_NET} -j ACCEPT`,
    );
  }
}

/** Both ways: replies to a neighbour would go straight. */
async function leadBy(outside: Host, through: Host, home: Host): Promise<void> {
  await must(outside, `ip route replace ${PLAIN_NET} via ${through.address}`);
  const next = through === home ? '' : `via ${through.address}`;
  await must(home, `ip route replace ${outside.address}/32 ${next} dev eth0`);
}

async function wrk(host: Host, url: string, { clients, seconds }: { clients: number; seconds: number }): Promise<Rate> {
  const said = await must(host, `wrk --threads 1 --connections ${clients} --duration ${seconds}s --timeout 5s ${url}`);
  const perSecond = Number(said.match(/Requests\/sec:\s+([\d.]+)/)?.[1] ?? Number.NaN);
  // `Socket errors: connect 0, read 0, write 0, timeout 0`, and a line of its own for other statuses than 2xx and 3xx.
  const errors =
    said.match(/Socket errors:.*|Non-2xx.*/g)?.flatMap((line) => line.match(/\b\d+$|\d+(?=,)/g) ?? []) ?? [];
  return { perSecond, errors: errors.reduce((sum, count) => sum + Number(count), 0) };
}

async function must(host: Host, script: string): Promise<string> {
  const { code, stdout, stderr } = await host.exec('sh', ['-ec', script]);
  if (code !== 0) throw new Error(`on ${host.name}: ${stdout}${stderr}`);
  return stdout;
}
