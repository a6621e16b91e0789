import { once } from 'node:events';
import { createServer } from 'node:net';
import { invariant } from '@apiary/std';

/** A TCP port of loopback that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  invariant(typeof address === 'object' && address !== null, 'it has a port');
  return address.port;
}
