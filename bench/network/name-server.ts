/** A name server with so many services of three tasks each, for `dns`. Says its port, and how much CPU time it has taken. */

import { NameServer } from '@apiary/overlay-net/io';
import { SystemClock, SystemRng } from '@apiary/std/io';

const services = Number(process.argv[2]);
const server = await NameServer.listen({
  address: '127.0.0.1',
  port: 0,
  clock: new SystemClock(),
  rng: new SystemRng(),
  logger: { info: () => {}, warn: (fields, message) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`) },
  upstream: async () => [],
  // The one who asks stands for all tasks of a host.
  askerRate: { burst: 1e9, perSecond: 1e9 },
});
const names = Array.from({ length: services }, (_, i) => `service-${i}`);
const network = { networkId: 'front', name: 'front', vni: 4097, subnet: '10.0.0.0/16', gateway: '10.0.0.1' };
const more = { internal: false, attachable: false, encrypted: false, mtu: 0, engineNetwork: '' };
server.apply(
  {
    selfId: 'n1',
    dataPathPort: 4789,
    networks: new Map([['front', { ...network, ...more }]]),
    endpointSets: new Map([
      [
        'front',
        {
          version: 1,
          endpoints: new Map(
            names.flatMap((serviceId, i) =>
              [1, 2, 3].map((slot) => [
                `${serviceId}.${slot}`,
                {
                  taskId: `${serviceId}.${slot}`,
                  serviceId,
                  nodeId: 'n1',
                  address: `10.0.${slot}.${i % 256}`,
                  taskName: `${serviceId}.${slot}`,
                  aliases: [],
                  live: true,
                },
              ]),
            ),
          ),
          services: new Map(
            names.map((serviceId, i) => [
              serviceId,
              // Every second one has no virtual address.
              { serviceId, name: serviceId, vip: i % 2 === 0 ? `10.0.0.${i % 256}` : '', aliases: [] },
            ]),
          ),
        },
      ],
    ]),
    nodes: new Map(),
    publishedPorts: new Map(),
    tasks: new Map(),
  },
  { hasVips: true },
);
server.know('127.0.0.1', { attachments: [{ networkId: 'front', address: '', aliases: [] }], nameservers: [] });
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send?.((user + system) / 1e6);
});
process.send?.(server.port);
