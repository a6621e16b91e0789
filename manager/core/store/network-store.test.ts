import { networksOverlap, parseIpNetwork } from '@apiary/overlay-net/core';
import fc from 'fast-check';
import t from 'tap';
import type { Change, Entry, Guard } from './change.js';
import { decodeEntry, encodeEntry } from './entry-codec.js';
import type { NetworkRecord } from './records.js';
import { Store } from './store.js';

const IDS = ['a', 'b', 'c'];
const id = fc.constantFrom(...IDS);
const network: fc.Arbitrary<Omit<NetworkRecord, 'meta'>> = fc.record({
  id,
  spec: fc.record({ Name: fc.constantFrom('front', 'back') }),
  kind: fc.constant('overlay' as const),
  vni: fc.constantFrom(0, 4097, 4098),
  subnets: fc
    .constantFrom('10.0.0.0/16', '10.0.1.0/24', '10.1.0.0/24')
    .map((subnet) => [{ subnet, gateway: subnet.replace(/0\/\d+$/, '1') }]),
});
const service: fc.Arbitrary<Change> = fc.record({
  type: fc.constant('service-create' as const),
  id: fc.constantFrom('s1', 's2'),
  spec: fc.record({
    Name: fc.constantFrom('web', 'db'),
    TaskTemplate: fc.record({ Networks: fc.array(fc.record({ Target: id }), { maxLength: 2 }) }),
  }),
});
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant('network-create' as const), network }) },
  fc.record({ type: fc.constant('network-delete' as const), id }),
  service,
  fc.record({ type: fc.constant('service-delete' as const), id: fc.constantFrom('s1', 's2') }),
);
const guard: fc.Arbitrary<Guard> = fc.oneof(
  fc.record({ type: fc.constant('network-free' as const), network }),
  fc.record({ type: fc.constant('network-unused' as const), id }),
  fc.record(
    { type: fc.constant('unchanged' as const), kind: fc.constant('network' as const), id, version: fc.nat(5) },
    { requiredKeys: ['type', 'kind', 'id'] },
  ),
);
const entry = fc.record({
  atMs: fc.nat(9),
  guards: fc.array(guard, { maxLength: 1 }),
  changes: fc.array(change, { maxLength: 3 }),
});

/** The rules of networks, over a list. */
class NaiveNetworks {
  networks: NetworkRecord[] = [];
  services: { id: string; name: string; targets: string[] }[] = [];
  made: string[] = [];

  holds(guard: Guard): boolean {
    if (guard.type === 'network-unused') return !this.services.some(({ targets }) => targets.includes(guard.id));
    if (guard.type === 'network-free') {
      const { spec, vni, subnets } = guard.network;
      return !this.networks.some(
        (other) =>
          other.spec.Name === spec.Name ||
          (vni !== 0 && other.vni === vni) ||
          subnets.some((a) =>
            other.subnets.some((b) => networksOverlap(parseIpNetwork(a.subnet), parseIpNetwork(b.subnet))),
          ),
      );
    }
    if (guard.type !== 'unchanged') return true;
    const record = this.networks.find((each) => each.id === guard.id);
    return record !== undefined && (guard.version === undefined || guard.version === record.meta.version);
  }

  apply(index: number, { atMs, guards, changes }: Entry): boolean {
    if (!guards.every((guard) => this.holds(guard))) return false;
    for (const change of changes) {
      if (change.type === 'network-delete') this.networks = this.networks.filter((each) => each.id !== change.id);
      if (change.type === 'network-create') {
        const { network } = change;
        if (this.networks.some((each) => each.id === network.id || each.spec.Name === network.spec.Name)) continue;
        this.networks.push({ ...network, meta: { version: index, createdAtMs: atMs, updatedAtMs: atMs } });
      }
      if (change.type === 'service-delete') this.services = this.services.filter((each) => each.id !== change.id);
      if (change.type === 'service-create') {
        const name = change.spec.Name ?? '';
        if (this.services.some((each) => each.id === change.id || each.name === name)) continue;
        const targets = (change.spec.TaskTemplate.Networks ?? []).map(({ Target = '' }) => Target);
        this.services.push({ id: change.id, name, targets });
      }
    }
    return true;
  }
}

t.test('networks are as a list of them would have them, also out of a snapshot', async (t) => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 25 }), fc.nat(25), (log, restoreAt) => {
      let store = new Store();
      const naive = new NaiveNetworks();
      for (const [i, each] of log.entries()) {
        if (i === restoreAt) {
          const restored = new Store();
          restored.restore(i, [...store.snapshot()]);
          store = restored;
        }
        const { result, touched } = store.apply(i + 1, decodeEntry(encodeEntry(each)));
        const before = new Map(naive.networks.map((record) => [record.id, record]));
        t.equal(result.ok, naive.apply(i + 1, each));
        const now = new Map(naive.networks.map((record) => [record.id, record]));
        for (const id of IDS) {
          t.same(store.network(id), now.get(id));
          if (before.get(id) !== now.get(id)) t.ok(touched.networks.has(id), 'a change is noticed');
        }
        t.same(
          store.networks().map(({ id }) => id),
          [...now.keys()].sort(),
        );
      }
    }),
    { numRuns: 300 },
  );
});
