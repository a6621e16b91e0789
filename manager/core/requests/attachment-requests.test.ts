import { SeededRng } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import type { Change, Entry } from '../store/change.js';
import { decodeEntry, encodeEntry } from '../store/entry-codec.js';
import { Store } from '../store/store.js';
import { type HeldAttachment, reconcileAttachments } from './attachment-requests.js';
import { createNetwork, isBeingLeft, removeNetwork } from './network-requests.js';

const NODES = ['n1', 'n2'];

/** Two nodes and a network of five addresses; entries land in the order of their commits, late ones too. */
class Cluster {
  store = new Store();
  readonly networkId: string;
  #index = 0;

  constructor({ attachable = true, ipv6 = '' } = {}) {
    const status = { state: 'ready' as const, message: '', addr: '' };
    const nodes = NODES.map((id): Change => ({ type: 'node-create', node: { id, spec: {}, role: 'worker', status } }));
    this.land({ atMs: 1, guards: [], changes: nodes });
    const IPAM = { Config: [{ Subnet: '10.9.0.0/29' }, ...(ipv6 === '' ? [] : [{ Subnet: ipv6 }])] };
    const spec = { Name: 'front', Driver: 'overlay', Attachable: attachable, IPAM, EnableIPv6: ipv6 !== '' };
    const { guards, changes, result } = createNetwork(this.store, spec, new SeededRng(1));
    this.land({ atMs: 1, guards, changes });
    this.networkId = result;
  }

  land(entry: Entry): boolean {
    return this.store.apply(++this.#index, decodeEntry(encodeEntry(entry))).result.ok;
  }

  held(id: string, address = '', name = ''): HeldAttachment {
    return { id, networkId: this.networkId, address, containerId: name, containerName: name, aliases: [] };
  }

  dual(id: string, ipv6Address = '', address = ''): HeldAttachment {
    return { ...this.held(id, address), ipv6Address, hasIpv6: true };
  }

  get ipv6Addresses(): Record<string, string | undefined> {
    return Object.fromEntries(this.store.attachments().map(({ id, ipv6Address }) => [id, ipv6Address]));
  }

  report(nodeId: string, held: HeldAttachment[], isComplete = true): Map<string, string> {
    const { guards, changes, result } = reconcileAttachments(this.store, nodeId, { held, isComplete });
    t.ok(this.land({ atMs: 1, guards, changes }));
    return new Map(Array.from(result, ([id, { code }]) => [id, code]));
  }

  get addresses(): Record<string, string> {
    return Object.fromEntries(this.store.attachments().map(({ id, address }) => [id, address]));
  }
}

t.test('a container has its address until its node does not name it any more, or is gone', async (t) => {
  const cluster = new Cluster();
  t.same(cluster.report('n1', [cluster.held('a'), cluster.held('b', '10.9.0.6')]), new Map());
  t.same(cluster.addresses, { a: '10.9.0.2', b: '10.9.0.6' });
  t.same(cluster.report('n2', [cluster.held('c', '10.9.0.6')]), new Map([['c', 'already-exists']]));
  t.same(cluster.report('n2', [cluster.held('c', '10.9.0.1')]), new Map([['c', 'invalid-argument']]), 'the gateway');
  t.same(cluster.report('n2', [cluster.held('c')], false), new Map());
  t.same(cluster.report('n2', [], false), new Map());
  t.equal(Object.keys(cluster.addresses).length, 3, 'there may be more than a report names that is not complete');
  const words = /^network \w+ is in use by container db on node n1$/;
  cluster.report('n1', [cluster.held('a', '', 'db'), cluster.held('b', '', 'db')]);
  t.notOk(isBeingLeft(cluster.store, cluster.networkId), 'nobody waits for containers that may stay');
  cluster.report('n2', []);
  t.throws(() => removeNetwork(cluster.store, cluster.networkId), { code: 'failed-precondition', message: words });
  t.same(cluster.report('n1', [cluster.held('z', '10.9.0.6')]), new Map(), 'known to its agent by another id');
  t.same(cluster.addresses, { z: '10.9.0.6' });
  cluster.land({ atMs: 2, guards: [], changes: [{ type: 'node-delete', id: 'n1' }] });
  t.same(cluster.addresses, {});
  t.equal(cluster.store.addresses(cluster.networkId).count, 0);
});

t.test('a network that is not attachable has none, and one that is full says so', async (t) => {
  const shut = new Cluster({ attachable: false });
  t.same(shut.report('n1', [shut.held('a')]), new Map([['a', 'permission-denied']]));
  const cluster = new Cluster();
  const many = ['a', 'b', 'c', 'd', 'e', 'f'].map((id) => cluster.held(id));
  t.same(cluster.report('n1', many), new Map([['f', 'resource-exhausted']]));
  t.equal(new Set(Object.values(cluster.addresses)).size, 5);
});

t.test('one that asks for IPv6 has an address of each family, and gives both back', async (t) => {
  const cluster = new Cluster({ ipv6: 'fd00:9::/64' });
  t.same(
    cluster.report('n1', [cluster.dual('a'), cluster.held('b'), cluster.dual('c', 'fd00:9::ffff:0:0:5')]),
    new Map(),
  );
  const given = { a: 'fd00:9::2', b: undefined, c: 'fd00:9::ffff:0:0:5' };
  t.same(cluster.ipv6Addresses, given);
  t.same(cluster.report('n1', [cluster.dual('a'), cluster.held('b'), cluster.dual('c')]), new Map());
  t.same(cluster.ipv6Addresses, given, 'who does not say which has what it had');
  const refused: [ipv6Address: string, code: string][] = [
    ['fd00:9::2', 'already-exists'],
    ['fd00:9::', 'invalid-argument'],
    ['fd00:9::1', 'invalid-argument'],
    ['fd00:8::5', 'invalid-argument'],
    ['10.9.0.5', 'invalid-argument'],
  ];
  for (const [address, code] of refused)
    t.same(cluster.report('n2', [cluster.dual('d', address)]), new Map([['d', code]]));
  t.equal(cluster.store.addresses(cluster.networkId).count, 3, 'nor has it the other one then');
  t.same(cluster.report('n1', [cluster.dual('a', 'fd00:9::7')]), new Map(), 'it asks for another');
  t.same(cluster.ipv6Addresses, { a: 'fd00:9::7' });
  t.same(cluster.report('n1', [cluster.dual('z', 'fd00:9::7', cluster.addresses.a)]), new Map());
  t.same(cluster.ipv6Addresses, { z: 'fd00:9::7' }, 'known to its agent by another id');
  cluster.report('n1', []);
  const { count, ipv6 } = cluster.store.addresses(cluster.networkId);
  t.same([count, ipv6.count], [0, 0]);
  const plain = new Cluster();
  t.same(plain.report('n1', [plain.dual('a')]), new Map([['a', 'failed-precondition']]), 'the network has none');
});

const id = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const report = fc.record({
  nodeId: fc.constantFrom(...NODES),
  ids: fc.uniqueArray(
    fc.record({
      id,
      address: fc.constantFrom('', '10.9.0.2', '10.9.0.3', '10.9.0.9'),
      ipv6Address: fc.constantFrom('', 'fd00:9::2', 'fd00:9::3'),
      hasIpv6: fc.boolean(),
    }),
    {
      selector: (each) => each.id,
    },
  ),
  isComplete: fc.boolean(),
  /** Decided before what comes next has landed. */
  isLate: fc.boolean(),
});

t.test("whatever nodes report at once, no address is two containers', and a snapshot keeps all of it", async () => {
  fc.assert(
    fc.property(fc.array(report, { maxLength: 12 }), (reports) => {
      const cluster = new Cluster({ ipv6: 'fd00:9::/64' });
      const late: Entry[] = [];
      for (const { nodeId, ids, isComplete, isLate } of reports) {
        const held = ids.map(({ id, address, ...ipv6 }) => ({ ...cluster.held(`${nodeId}${id}`, address), ...ipv6 }));
        const { guards, changes } = reconcileAttachments(cluster.store, nodeId, { held, isComplete });
        if (isLate) late.push({ atMs: 1, guards, changes });
        else cluster.land({ atMs: 1, guards, changes });
        if (!isLate) for (const entry of late.splice(0)) cluster.land(entry);
        const all = cluster.store.attachments();
        const owners = cluster.store.addresses(cluster.networkId).owners;
        const addresses = new Set(all.map(({ address }) => address));
        const ipv6 = all.flatMap(({ ipv6Address }) => ipv6Address ?? []);
        const ipv6Owners = cluster.store.addresses(cluster.networkId).ipv6.owners;
        if (new Set(ipv6).size !== ipv6.length || ipv6Owners.size !== ipv6.length) return false;
        if (addresses.size !== all.length || owners.size !== all.length) return false;
        const restored = new Store();
        restored.restore(1, [...cluster.store.snapshot()]);
        if (JSON.stringify(restored.attachments()) !== JSON.stringify(all)) return false;
        if (restored.addresses(cluster.networkId).count !== all.length) return false;
      }
      return true;
    }),
  );
});
