import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { openSocketIn } from '@apiary/agent-native';
import { SystemClock } from '@apiary/std/io';
import type { HostPort, NetworkState } from '../core/index.js';
import { GatewayNetwork, removeGatewayNetwork } from './gateway-network.js';

/** What a test has a host do. Answered with the number of the order, and what was refused. */
export type Order = { number: number } & (
  | { do: 'open'; subnet: string }
  | { do: 'attach'; path: string; address: string; isReachedByIpv6?: boolean }
  | { do: 'apply'; state: NetworkState }
  | { do: 'publish'; ports: HostPort[] }
  | { do: 'answer-names' }
  | { do: 'remove' }
);

export type Answer = { number: number; refused: string } | { repaired: string[] } | { trouble: string };

const say = (answer: Answer) => process.send?.(answer);
let network: GatewayNetwork | undefined;

async function obey(order: Order): Promise<void> {
  switch (order.do) {
    case 'open':
      network = await GatewayNetwork.open({
        subnet: order.subnet,
        clock: new SystemClock(),
        logger: {
          info: (fields) => say({ repaired: 'repaired' in fields ? (fields.repaired as string[]) : [] }),
          warn: (fields, message) => say({ trouble: `${message}: ${JSON.stringify(fields)}` }),
        },
      });
      break;
    case 'attach':
      await network?.attach({ path: order.path }, order.address, { isReachedByIpv6: order.isReachedByIpv6 ?? false });
      break;
    case 'apply':
      await network?.apply(order.state);
      break;
    case 'publish':
      await network?.publish(order.ports);
      break;
    case 'answer-names':
      await answerNames();
      break;
    case 'remove':
      await network?.close();
      await removeGatewayNetwork();
      break;
  }
}

/** Says to who asks for names whom it sees. What is asked by UDP is answered when somebody comes by TCP. */
async function answerNames(): Promise<void> {
  if (network === undefined) return;
  const { namespace, address } = network.names;
  const [datagrams, connections] = [
    await openSocketIn(namespace, { kind: 'udp', address, port: 53 }),
    await openSocketIn(namespace, { kind: 'tcp', address, port: 53 }),
  ];
  const udp = createSocket('udp4');
  udp.bind({ fd: datagrams });
  const tcp = createServer((socket) => {
    socket.on('error', () => {}).end(`names ${socket.remoteAddress}\n`);
    for (const answer of held.splice(0)) answer();
  });
  const held: (() => void)[] = [];
  udp.on('message', (_question, from) => {
    held.push(() => udp.send(`names ${from.address}`, from.port, from.address));
    say({ repaired: ['asked'] });
  });
  tcp.listen({ fd: connections });
}

process.on('message', (order: Order) => {
  obey(order).then(
    () => say({ number: order.number, refused: '' }),
    (error: unknown) => say({ number: order.number, refused: String(error) }),
  );
});
process.on('disconnect', () => process.exit());
