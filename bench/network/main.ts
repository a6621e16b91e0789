/**
 * The network of tasks.
 *
 *   node bench/dist/network/main.js dns [--seconds 5] [--services 200]
 *
 * `dns`: a name server, asked for the names of services by another process: how many answers it gives in a second, and in a
 * second of CPU time, when as many as it takes are asked, and how long they take at 15,000 a second.
 */
import { parseArgs } from 'node:util';
import { measureDns } from './dns.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '5' }, services: { type: 'string', default: '200' } },
});
const benches: Record<string, () => Promise<string>> = {
  dns: () => measureDns({ seconds: Number(values.seconds), services: Number(values.services) }),
};
const [name = ''] = positionals;
const bench = benches[name];
if (bench === undefined) throw new Error(`which? ${Object.keys(benches).join(', ')}`);
process.stdout.write(`${await bench()}\n`);
