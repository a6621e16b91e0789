import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import { pino } from 'pino';
import t from 'tap';
import type { AttachmentsMessage } from '../../core/index.js';
import { Attachments } from './attachments.js';
import type { EngineEndpoint, EngineNetwork, EngineNetworks } from './engine-networks.js';
import { libnetworkDriver } from './libnetwork-driver.js';
import { Sandboxes } from './sandboxes.js';

const logger = pino({ level: 'silent' });
const FRONT = {
  networkId: 'front',
  name: 'front',
  vni: 4097,
  subnet: '10.0.1.0/24',
  gateway: '10.0.1.1',
  internal: false,
  attachable: true,
  encrypted: false,
  mtu: 0,
  engineNetwork: '',
};

/** An engine's networks, in memory: it has the cluster's once they are made, and lists whoever it is told to. */
class FakeNetworks implements EngineNetworks {
  readonly networks: EngineNetwork[] = [];
  endpointsOf: EngineEndpoint[] = [];
  /** Decides, before each call, how it goes. */
  before: (call: string) => Promise<void> | void = () => {};
  readonly calls: string[] = [];

  async list() {
    await this.#called('list');
    return [...this.networks];
  }

  async create({ networkId, name }: { networkId: string; name: string }) {
    await this.#called('create');
    this.networks.push({ id: `e-${networkId}`, name, networkId, hasIpv6: false });
  }

  async remove(id: string) {
    await this.#called('remove');
    this.networks.splice(
      this.networks.findIndex((each) => each.id === id),
      1,
    );
  }

  async endpoints() {
    await this.#called('endpoints');
    return [...this.endpointsOf];
  }

  async container(id: string) {
    await this.#called('container');
    return { name: `name-of-${id}`, sandboxKey: `/netns/${id}`, aliases: new Map() };
  }

  async disconnect(_networkId: string, containerId: string) {
    await this.#called('disconnect');
    this.endpointsOf = this.endpointsOf.filter((each) => each.containerId !== containerId);
  }

  close() {}

  async #called(call: string) {
    this.calls.push(call);
    await this.before(call);
  }
}

function setting() {
  const clock = new VirtualClock();
  const engine = new FakeNetworks();
  /** What is to become of the next attempts to have names in a container. */
  const faults: Error[] = [];
  const named: string[] = [];
  const sandboxes = new Sandboxes({
    system: {
      namespaceAt: async () => ({ inode: 1, cookie: undefined }),
      openNamespaceNames: async ({ namespace }, attachments) => {
        const fault = faults.shift();
        if (fault !== undefined) throw fault;
        named.push(namespace.path);
        return { attachments, close: () => {} };
      },
    },
    names: { answer: () => {} },
    clock,
    logger,
    onChange: () => {},
  });
  let taken = () => {};
  const attachments = new Attachments({
    engine,
    sandboxes,
    ports: {
      offer: async (_attachment, _link, onTaken) => {
        taken = onTaken;
      },
      retract: async () => {},
    },
    clock,
    rng: new SeededRng(1),
    logger,
    onChange: () => {},
    onAdopted: () => {},
  });
  const told = (...given: AttachmentsMessage['attachments']) =>
    attachments.apply({ networks: [FRONT], attachments: given });
  /** A container gets an address and an interface, as the engine has it done. */
  const start = async (containerId: string) => {
    const asked = attachments.request('front', '');
    const [held] = attachments.report.attachments;
    told({
      attachmentId: held?.attachmentId ?? '',
      networkId: 'front',
      address: '10.0.1.2',
      error: '',
      ipv6Address: '',
    });
    const address = await asked;
    await attachments.offer(address, '', `ep-of-${containerId}`);
    attachments.join(`ep-of-${containerId}`, 'e-front', `/netns/${containerId}`);
    taken();
    const endpoint = { endpointId: `ep-of-${containerId}`, containerId, address, ipv6Address: '' };
    return { endpoint, attachmentId: held?.attachmentId ?? '' };
  };
  const nameTold = () => attachments.report.attachments[0]?.containerName;
  return { clock, engine, attachments, faults, named, told, start, nameTold };
}

/** All that can happen at this moment has happened. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

async function pass(clock: VirtualClock, durationMs: number): Promise<void> {
  for (let passed = 0; passed < durationMs; passed += 100) {
    clock.advance(100);
    await settled();
  }
}

t.test('a container is known by its name soon after the engine lists it, however late that is', async (t) => {
  const { clock, engine, told, start, nameTold } = setting();
  told();
  await settled();
  const { endpoint } = await start('c1');
  await pass(clock, 5_000);
  t.equal(nameTold(), '');
  engine.endpointsOf = [endpoint];
  await pass(clock, 1_000);
  t.equal(nameTold(), 'name-of-c1');
  engine.calls.length = 0;
  await pass(clock, 10_000);
  t.same(engine.calls, [], 'and the engine is left alone');
});

t.test('what could not be made for a container is made with the next look', async (t) => {
  const { clock, engine, faults, named, told, start } = setting();
  told();
  await settled();
  faults.push(new Error('nft: no such process'), new Error('nft: no such process'));
  const { endpoint } = await start('c1');
  engine.endpointsOf = [endpoint];
  await settled();
  t.same(named, []);
  await pass(clock, 35_000);
  t.same(named, ['/netns/c1']);
});

t.test(
  'a container whose address is another’s is taken off its network, also when the engine fails at first',
  async (t) => {
    const { clock, engine, attachments, told, start } = setting();
    told();
    await settled();
    const { endpoint, attachmentId } = await start('c1');
    engine.endpointsOf = [endpoint];
    await settled();
    engine.before = (call) => {
      if (call === 'disconnect') throw new ApiaryError('unavailable', 'no answer');
    };
    const refused = { ...endpoint, attachmentId, networkId: 'front', error: 'it is another’s' };
    told(refused);
    await settled();
    t.same(engine.endpointsOf, [endpoint]);
    engine.before = () => {};
    await pass(clock, 16_000);
    t.same(engine.endpointsOf, []);
    t.same(attachments.report.attachments, []);
  },
);

t.test('a look that is asked for at whatever moment of another is taken', async (t) => {
  for (let turns = 0; turns < 30; turns++) {
    const { engine, attachments } = setting();
    attachments.look();
    let isAsked = false;
    engine.before = async () => {
      if (isAsked) return;
      isAsked = true;
      // From here on, so many turns of the queue of what is to be done next.
      void (async () => {
        for (let i = 0; i < turns; i++) await undefined;
        engine.calls.length = 0;
        attachments.look();
      })();
    };
    attachments.look();
    await settled();
    t.ok(isAsked);
    t.ok(engine.calls.includes('list'), `after ${turns} turns`);
  }
});

t.test(
  'an address that is asked for before the managers have said anything is waited for, but not for ever',
  async (t) => {
    const ask = { PoolID: 'front', Address: '', Options: null };
    const { attachments, told } = setting();
    const asked = libnetworkDriver(attachments)['IpamDriver.RequestAddress']?.(ask);
    await settled();
    t.same(attachments.report.attachments, []);
    told();
    await settled();
    const [held] = attachments.report.attachments;
    told({
      attachmentId: held?.attachmentId ?? '',
      networkId: 'front',
      address: '10.0.1.2',
      error: '',
      ipv6Address: '',
    });
    t.same(await asked, { Address: '10.0.1.2/24' });

    const other = setting();
    const unheard = t.rejects(
      Promise.resolve(libnetworkDriver(other.attachments)['IpamDriver.RequestAddress']?.(ask)),
      { code: 'not-found' },
    );
    await pass(other.clock, 10_000);
    await unheard;
  },
);
