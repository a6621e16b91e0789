import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { PublishedPort } from '@apiary/overlay-net/core';
import { VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { readPortsLabel, type TaskPort, writePortsLabel } from '../../core/index.js';
import { HostPorts, type Reservation, reserveOnHost } from './host-ports.js';
import { Withdrawals } from './withdrawals.js';

const tcp = (publishedPort: number, targetPort = 80): TaskPort => ({ protocol: 'tcp', publishedPort, targetPort });

const at = (address: string) => ({ address, ipv6Address: '' });

/** Ports of a host on which nobody but these has any. */
function reservations(...taken: number[]) {
  const held = new Set(taken);
  const reserve = async (_protocol: string, port: number): Promise<Reservation> => {
    if (held.has(port)) throw Object.assign(new Error('taken'), { code: 'EADDRINUSE' });
    held.add(port);
    return { release: () => held.delete(port) };
  };
  return { held, reserve };
}

t.test('a port is one task’s, and free again when that is gone', async (t) => {
  const { held, reserve } = reservations(8081);
  const ports = new HostPorts(reserve);
  t.same(await ports.claim('a', at('10.224.0.2'), [tcp(8080)]), [tcp(8080)]);
  t.same(await ports.claim('a', at('10.224.0.2'), [tcp(8080)]), [tcp(8080)], 'once more');
  await t.rejects(ports.claim('b', at('10.224.0.3'), [tcp(9000), tcp(8080)]), {
    code: 'failed-precondition',
    message: 'Bind for 0.0.0.0:8080 failed: port is already allocated',
  });
  await t.rejects(ports.claim('b', at('10.224.0.3'), [tcp(8081)]), {
    message: 'listen tcp4 0.0.0.0:8081: bind: address already in use',
  });
  t.same(ports.rows, [
    {
      taskId: 'a',
      protocol: 'tcp',
      hostAddress: '',
      publishedPort: 8080,
      targetPort: 80,
      gatewayAddress: '10.224.0.2',
    },
  ]);
  t.same([...held], [8081, 8080], 'what was claimed in vain is free');
  t.ok(ports.release('a'));
  t.notOk(ports.release('a'));
  await ports.claim('b', at('10.224.0.3'), [tcp(8080)]);
  ports.avoid((protocol, port) => protocol === 'tcp' && port === 8082);
  await t.rejects(ports.claim('c', at('10.224.0.4'), [tcp(8082)]), /already allocated/);
});

t.test('a port without a number is found, and kept over a restart', async (t) => {
  const { held, reserve } = reservations(32_767);
  const ports = new HostPorts(reserve);
  ports.avoid((_protocol, port) => port === 32_766);
  const found = await ports.claim('a', at('10.224.0.2'), [tcp(0), tcp(0, 81)]);
  t.same(found, [tcp(32_765), tcp(32_764, 81)]);
  t.same(readPortsLabel(writePortsLabel(found)), found);
  const narrow = [{ ...tcp(8080), hostAddress: '127.0.0.1' }];
  t.same(readPortsLabel(writePortsLabel(narrow)), narrow);
  t.same(readPortsLabel('nonsense,tcp/1:,icmp/1:2,udp/53:54'), [
    { protocol: 'udp', publishedPort: 53, targetPort: 54 },
  ]);
  ports.releaseAll();
  t.same([...held], [32_767]);
  await ports.adopt('a', at('10.224.0.2'), found);
  t.ok(held.has(32_765) && held.has(32_764));
  await ports.adopt('a', at('10.224.0.2'), found);
  t.equal(ports.rows.length, 2);
  await ports.adopt('b', at('10.224.0.3'), [tcp(32_767)]);
  t.equal(ports.rows.length, 3, 'its own, although another program has it');
});

t.test('what another program listens on is not given out, and what is given out nobody can listen on', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ports = new HostPorts(reserveOnHost);
  await t.rejects(ports.claim('a', at('10.224.0.2'), [tcp(port)]), /address already in use/);
  server.close();
  await once(server, 'close');
  await ports.claim('a', at('10.224.0.2'), [tcp(port), { protocol: 'udp', publishedPort: port, targetPort: 53 }]);
  const second = createServer().listen(port, '0.0.0.0');
  t.match(await once(second, 'error').catch((error: unknown) => [error]), [{ code: 'EADDRINUSE' }]);
  const socket = createSocket('udp4').bind(port);
  t.match(await once(socket, 'error').catch((error: unknown) => [error]), [{ code: 'EADDRINUSE' }]);
  const connection = connect(port, '127.0.0.1');
  await once(connection, 'close');
  ports.release('a');
  await new Promise<void>((resolve) => createServer().listen(port, '0.0.0.0', resolve).unref());
});

t.test('a port at an address of IPv6 is that of a task that has IPv6', async (t) => {
  const place = { address: '10.224.0.2', ipv6Address: 'fd00::2' };
  const asked: TaskPort = { ...tcp(8080), hostAddress: '::1' };
  const label = 'tcp/8080:80@::1';
  t.same([writePortsLabel([asked]), readPortsLabel(label)], [label, [asked]]);
  const ports = new HostPorts(reservations().reserve);
  await ports.claim('a', place, [asked]);
  t.match(ports.rows, [{ hostAddress: '::1', gatewayAddress: '10.224.0.2', gatewayIpv6Address: 'fd00::2' }]);
  const refused = new HostPorts(async () => {
    throw Object.assign(new Error('no'), { code: 'EADDRNOTAVAIL' });
  });
  const message = 'listen tcp6 [2001:db8::1]:8080: bind: cannot assign requested address';
  await t.rejects(refused.claim('a', place, [{ ...asked, hostAddress: '2001:db8::1' }]), { message });
  const server = createServer().listen(0, '::1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await t.rejects(new HostPorts(reserveOnHost).claim('a', place, [{ ...asked, publishedPort: port }]), {
    message: `listen tcp6 [::1]:${port}: bind: address already in use`,
  });
  const socket = await reserveOnHost('udp', port, '::1');
  socket.release();
  server.close();
});

t.test('a task that is to stop', async (t) => {
  const port = (...taskIds: string[]): PublishedPort => ({
    protocol: 'tcp',
    publishedPort: 80,
    targetPort: 80,
    serviceId: 's',
    backends: taskIds.map((taskId) => ({ taskId, nodeId: 'n', gatewayAddress: '' })),
  });
  const known = (...taskIds: string[]) => ({
    endpointSets: new Map(),
    publishedPorts: new Map([['tcp/80', port(...taskIds)]]),
  });

  function waiting(t: Test) {
    const clock = new VirtualClock();
    const withdrawals = new Withdrawals(clock);
    t.teardown(() => withdrawals.close());
    const state = { isOver: false };
    const wait = async () => {
      const over = withdrawals.of('a', 's').then(() => {
        state.isOver = true;
      });
      await Promise.race([over, new Promise<void>((resolve) => setImmediate(resolve))]);
      return async (ms: number) => {
        clock.advance(ms);
        await new Promise<void>((resolve) => setImmediate(resolve));
        return state.isOver;
      };
    };
    return { withdrawals, wait, state };
  }

  await t.test('does so at once when nobody is led to it', async (t) => {
    const { withdrawals, wait, state } = waiting(t);
    await wait();
    t.ok(state.isOver, 'nothing is known');
    withdrawals.applied(known());
    await (await wait())(0);
    t.ok(state.isOver);
  });

  await t.test('waits until nobody is, here and on other hosts', async (t) => {
    const { withdrawals, wait } = waiting(t);
    withdrawals.applied(known('a', 'b'));
    const after = await wait();
    t.notOk(await after(600));
    withdrawals.applied(known('b'));
    t.notOk(await after(99));
    t.ok(await after(1));
  });

  await t.test('waits for the others also when it is out here already', async (t) => {
    const { withdrawals, wait } = waiting(t);
    withdrawals.applied(known('b'));
    const after = await wait();
    t.notOk(await after(699));
    t.ok(await after(1));
  });

  await t.test('waits for nobody when there is nobody in its place', async (t) => {
    const { withdrawals, wait } = waiting(t);
    withdrawals.applied(known('a'));
    const after = await wait();
    withdrawals.applied(known());
    t.ok(await after(0));
  });

  await t.test('waits a second at most', async (t) => {
    const { withdrawals, wait } = waiting(t);
    withdrawals.applied(known('a', 'b'));
    const after = await wait();
    t.notOk(await after(999));
    t.ok(await after(1));
  });
});
