import { SystemClock } from '@apiary/std/io';
import type { HostPort, NetworkState } from '../core/index.js';
import { GatewayNetwork, removeGatewayNetwork } from './gateway-network.js';

/** What a test has a host do. Answered with the number of the order, and what was refused. */
export type Order = { number: number } & (
  | { do: 'open'; subnet: string }
  | { do: 'attach'; path: string; address: string }
  | { do: 'apply'; state: NetworkState }
  | { do: 'publish'; ports: HostPort[] }
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
      await network?.attach({ path: order.path }, order.address);
      break;
    case 'apply':
      await network?.apply(order.state);
      break;
    case 'publish':
      await network?.publish(order.ports);
      break;
    case 'remove':
      await network?.close();
      await removeGatewayNetwork();
      break;
  }
}

process.on('message', (order: Order) => {
  obey(order).then(
    () => say({ number: order.number, refused: '' }),
    (error: unknown) => say({ number: order.number, refused: String(error) }),
  );
});
process.on('disconnect', () => process.exit());
