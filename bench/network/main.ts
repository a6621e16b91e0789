/**
 * The network of tasks. `dns` and `endpoints` need no root, the others need the test hosts.
 *
 *   node bench/dist/network/main.js throughput [--runs 7] [--seconds 5]
 *       TCP between tasks on two hosts over an overlay network beside the same path built by hand with `ip`, and to a VIP
 *       beside the task's own address: how much a second, and how long a small request and its answer take
 *   node bench/dist/network/main.js ingress [--runs 7] [--seconds 5] [--clients 250]
 *       requests to a port whose task is on another host, beside the task reached by a plain route (Debian's wrk)
 *   node bench/dist/network/main.js rolling [--updates 10] [--requests 100000]
 *       what becomes of requests, from outside and from another service, while the service is updated
 *   node bench/dist/network/main.js endpoints [--agents 100] [--times 300]
 *       how soon all agents hear of an endpoint
 *   node bench/dist/network/main.js kernels [--hosts 8] [--times 30]
 *       how soon the kernels of all hosts lead to a task that has started, and not any more to one that has ended
 *   node bench/dist/network/main.js attach [--times 30]
 *       what networks add to a container's start
 *   node bench/dist/network/main.js dns [--seconds 5] [--services 200]
 *       a name server, asked for the names of services by another process: how many answers it gives in a second, and in a
 *       second of CPU time, when as many as it takes are asked, and how long they take at 15,000 a second
 */
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '5' },
    clients: { type: 'string', default: '250' },
    updates: { type: 'string', default: '10' },
    requests: { type: 'string', default: '100000' },
    agents: { type: 'string', default: '100' },
    times: { type: 'string' },
    hosts: { type: 'string', default: '8' },
    services: { type: 'string', default: '200' },
  },
});
const [runs, seconds, clients] = [Number(values.runs), Number(values.seconds), Number(values.clients)];
const benches: Record<string, () => Promise<string>> = {
  throughput: async () => (await import('./throughput.js')).measureThroughput({ runs, seconds }),
  ingress: async () => (await import('./ingress.js')).measureIngress({ runs, seconds, clients }),
  rolling: async () => {
    const { measureRolling } = await import('./rolling.js');
    return measureRolling({ updates: Number(values.updates), requests: Number(values.requests) });
  },
  endpoints: async () => {
    const { measureEndpoints } = await import('./endpoints.js');
    return measureEndpoints({ agents: Number(values.agents), times: Number(values.times ?? 300) });
  },
  kernels: async () => {
    const { measureKernels } = await import('./kernels.js');
    return measureKernels({ hosts: Number(values.hosts), times: Number(values.times ?? 30) });
  },
  attach: async () => (await import('./attach.js')).measureAttach({ times: Number(values.times ?? 30) }),
  dns: async () => (await import('./dns.js')).measureDns({ seconds, services: Number(values.services) }),
};
const [name = ''] = positionals;
const bench = benches[name];
if (bench === undefined) throw new Error(`which? ${Object.keys(benches).join(', ')}`);
process.stdout.write(`${await bench()}\n`);
