import t from 'tap';
import type { Interfaces } from './address.js';
import { resolveDataPathAddr } from './address.js';
import { advertisementAnew, advertisementNow, advertisementOf, listenAddrOf } from './advertisement.js';

function interfacesWith(addresses: Record<string, string>): Interfaces {
  return Object.fromEntries(
    Object.entries({ lo: '127.0.0.1', ...addresses }).map(([name, address]) => {
      const common = { address, netmask: '255.255.255.0', mac: '', cidr: null, internal: name === 'lo' };
      return [name, [{ ...common, family: 'IPv4' as const }]];
    }),
  );
}

const BEFORE = interfacesWith({ eth0: '10.0.0.1', docker0: '172.17.0.1' });

t.test('the ports that others call are those asked for, or those listened on', async (t) => {
  const addrOf = (AdvertiseAddr: string, ListenAddr: string) => {
    const { advertiseAddr, advertisePort } = advertisementOf({ AdvertiseAddr, ListenAddr }, BEFORE);
    return `${advertiseAddr}:${advertisePort}`;
  };
  t.equal(addrOf('', ''), '10.0.0.1:2377');
  t.equal(addrOf('eth0', '0.0.0.0:4000'), '10.0.0.1:4000');
  t.equal(addrOf('192.0.2.7:5000', '0.0.0.0:4000'), '192.0.2.7:5000');
  t.throws(() => advertisementOf({}, interfacesWith({ eth0: '10.0.0.1', eth1: '10.1.0.1' })), {
    message: /could not choose an IP address .* \(10\.0\.0\.1, 10\.1\.0\.1\)/,
  });
});

t.test('a host whose address changed is reached at the new one', async (t) => {
  const made = {
    docker0: '172.17.0.1',
    docker_gwbridge: '172.18.0.1',
    apiary_gw: '10.224.0.1',
    apiary_gwx: '10.224.0.1',
  };
  const moved = interfacesWith({ eth0: '10.0.0.9', ...made });
  for (const AdvertiseAddr of ['', 'eth0', '10.0.0.1', '10.0.0.1:2377', 'eth0:2377']) {
    const kept = advertisementOf({ AdvertiseAddr, ListenAddr: '0.0.0.0:2377' }, BEFORE);
    t.match(advertisementNow(kept, moved), { now: { advertiseAddr: '10.0.0.9', advertisePort: 2377 } }, AdvertiseAddr);
    t.same(advertisementNow(kept, BEFORE), { now: kept }, 'and stays where it is when nothing has changed');
  }
  const listening = advertisementOf({ AdvertiseAddr: '10.0.0.1', ListenAddr: '10.0.0.1:4000' }, BEFORE);
  const { now } = advertisementNow(listening, moved);
  t.equal(listenAddrOf(now, moved), '10.0.0.9:4000', 'who listened there alone listens at the new one');
  t.equal(advertisementNow(now, BEFORE).now.advertiseAddr, '10.0.0.1', 'it may change again');
});

t.test('an address that cannot be chosen, or never was of this host, stays', async (t) => {
  const two = interfacesWith({ eth0: '10.0.0.9', eth1: '10.1.0.9' });
  const chosen = advertisementOf({ AdvertiseAddr: '10.0.0.1' }, BEFORE);
  t.same(advertisementNow(chosen, two), {
    now: chosen,
    problem: '10.0.0.1 is no address of this host any more: it has 10.0.0.9, 10.1.0.9, of which none can be chosen',
  });
  t.match(advertisementNow(chosen, interfacesWith({})), { now: chosen, problem: /it has none$/ });
  const byName = advertisementOf({ AdvertiseAddr: 'eth0' }, BEFORE);
  t.same(advertisementNow(byName, interfacesWith({ eth1: '10.0.0.9' })), {
    now: byName,
    problem: 'interface "eth0" has no IPv4 address now',
  });
  const router = advertisementOf({ AdvertiseAddr: '203.0.113.1' }, BEFORE);
  t.same(advertisementNow(router, two), { now: router });
});

t.test('what hosts send each other comes from the address or interface that was asked for', async (t) => {
  const both = interfacesWith({ eth0: '10.0.0.1', eth1: '10.1.0.1' });
  const asked = { AdvertiseAddr: '10.0.0.1', DataPathAddr: 'eth1' };
  const kept = advertisementOf(asked, both);
  t.equal(kept.dataPath, 'eth1');
  t.equal(resolveDataPathAddr(kept.dataPath, both), '10.1.0.1');
  t.equal(resolveDataPathAddr(advertisementNow(kept, both).now.dataPath, both), '10.1.0.1');
  t.equal(resolveDataPathAddr('', both), undefined);
  t.equal(resolveDataPathAddr('192.0.2.9', both), '192.0.2.9', "a router's, perhaps");
  for (const DataPathAddr of ['0.0.0.0', '10.1.0.1:4789', 'eth7']) {
    t.throws(() => advertisementOf({ ...asked, DataPathAddr }, both), {
      code: 'invalid-argument',
      message: /^data path/,
    });
  }
  t.equal(advertisementAnew({ ...kept, dataPath: '10.1.0.1' }, {}).dataPath, '10.1.0.1');
});
