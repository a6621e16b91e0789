import { type Host, type Outcome, run, until } from '@apiary/test/hosts';
import { answerOfProgram } from '../debian-package.js';
import { median, spread, table } from '../statistics.js';
import { BenchCluster } from './cluster.js';
import { BY_HAND, buildByHand, byHandAddress } from './hand-made.js';

const ECHO_PORT = 5202;

/** In Python, which waits in the kernel: what an event loop adds would hide what the network does. */
const ECHO = `
import socket
s = socket.create_server(('0.0.0.0', ${ECHO_PORT}))
while True:
    c, _ = s.accept()
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        d = c.recv(64)
        if not d: break
        c.sendall(d)
`;
const ASK = `
import socket, sys, time
c = socket.create_connection((sys.argv[1], ${ECHO_PORT}))
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
took = []
warm = time.perf_counter() + 0.5
end = warm + float(sys.argv[2])
while True:
    t = time.perf_counter()
    if t > end: break
    c.sendall(b'x' * 32)
    c.recv(64)
    if t > warm: took.append(time.perf_counter() - t)
took.sort()
print(took[len(took) // 2] * 1e6)
`;

/** A way from a client to a server. */
interface Way {
  name: string;
  to: string;
  /** Runs a program of the machine at its beginning. */
  run(command: readonly string[]): Promise<Outcome>;
}

export interface ThroughputOptions {
  runs: number;
  seconds: number;
}

/** The overlay beside the same built by hand, and a VIP beside the task's own address, each pair in turn. */
export async function measureThroughput({ runs, seconds }: ThroughputOptions): Promise<string> {
  answerOfProgram(['iperf3', '--version'], 'iperf3');
  const cluster = await BenchCluster.up(2);
  try {
    const pairs = await waysOf(cluster);
    const rows = [['', 'Gbit/s', 'ratio', 'wanted', 'p50 of a request, us', 'ratio']];
    for (const [reference, subject, wanted] of pairs) {
      const seen = [reference, subject].map(() => ({ gigabits: [] as number[], microseconds: [] as number[] }));
      for (let round = -1; round < runs; round++) {
        const both = [reference, subject].map((way, i) => ({ way, into: seen[i] }));
        // What drifts concerns both alike.
        if (round % 2 !== 0) both.reverse();
        for (const { way, into } of both) {
          const gigabits = await throughput(way, seconds);
          const microseconds = await latency(way, seconds);
          if (round < 0) continue; // warm-up
          into?.gigabits.push(gigabits);
          into?.microseconds.push(microseconds);
          process.stderr.write(`${way.name}: ${gigabits.toFixed(2)} Gbit/s, ${microseconds.toFixed(1)} us\n`);
        }
      }
      const [by, ours] = seen;
      if (by === undefined || ours === undefined) continue;
      const rates = ours.gigabits.map((rate, i) => rate / (by.gigabits[i] ?? Number.NaN));
      const times = by.microseconds.map((time, i) => time / (ours.microseconds[i] ?? Number.NaN));
      rows.push([reference.name, spread(by.gigabits), '', '', spread(by.microseconds, 1), '']);
      rows.push([
        subject.name,
        spread(ours.gigabits),
        spread(rates),
        `${wanted}`,
        spread(ours.microseconds, 1),
        spread(times),
      ]);
      process.stderr.write(`${subject.name}: ${median(rates).toFixed(3)}, ${median(times).toFixed(3)}\n`);
    }
    return table(rows);
  } finally {
    await cluster.down();
  }
}

async function waysOf(cluster: BenchCluster): Promise<[Way, Way, number][]> {
  const [one, two] = [cluster.host(1), cluster.host(2)];
  await cluster.network('front');
  const idle = { command: ['sleep', '1d'], networks: ['front'] };
  const [client] = await cluster.run('client', { ...idle, host: 1 });
  const [server] = await cluster.run('server', { ...idle, host: 2 });
  if (client === undefined || server === undefined) throw new Error('no tasks');
  await buildByHand(one, two);
  await serve(two, BenchCluster.besides(server));
  await serve(two, BY_HAND);
  const besides = (name: string, before: readonly [string, ...string[]], to: string): Way => ({
    name,
    to,
    run: (command) => one.exec(before[0], [...before.slice(1), ...command]),
  });
  const within = (name: string, to: string): Way => ({
    name,
    to,
    run: (command) => run(['docker', ...BenchCluster.within(client, command)]),
  });
  const ways: [Way, Way, number][] = [
    [
      besides('by hand', BY_HAND, byHandAddress(two)),
      besides('overlay network', BenchCluster.besides(client), server.address),
      0.97,
    ],
    [within("the task's address", server.address), within('the VIP', await cluster.vip('server', 'front')), 0.99],
  ];
  for (const [reference, subject] of ways) {
    for (const way of [reference, subject]) {
      await until(`an answer: ${way.name}`, async () => (await latency(way, 0.01)) > 0);
    }
  }
  return ways;
}

/**
 * The two ends have a core each: where the scheduler puts them together, or apart, makes more of a difference than any network.
 */
const CLIENTS_CORE = ['taskset', '-c', '0'];
const SERVERS_CORE = ['taskset', '-c', '1'];

/** Starts the other ends, which end with the host. */
async function serve(host: Host, before: readonly [string, ...string[]]): Promise<void> {
  const [program, ...args] = before;
  await host.spawn(program, [...args, ...SERVERS_CORE, 'iperf3', '--server'], '/dev/null');
  await host.spawn(program, [...args, ...SERVERS_CORE, 'python3', '-c', ECHO], '/dev/null');
}

async function throughput(way: Way, seconds: number): Promise<number> {
  const said = await asked(way, ['iperf3', '--client', way.to, '--time', `${seconds}`, '--omit', '1', '--json']);
  return JSON.parse(said).end.sum_received.bits_per_second / 1e9;
}

async function latency(way: Way, seconds: number): Promise<number> {
  return Number(await asked(way, ['python3', '-c', ASK, way.to, `${seconds}`]));
}

async function asked(way: Way, command: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await way.run([...CLIENTS_CORE, ...command]);
  if (code !== 0) throw new Error(`${way.name}: ${stdout}${stderr}`);
  return stdout;
}
