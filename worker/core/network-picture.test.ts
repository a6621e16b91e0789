import type { AssignedNetwork, Endpoint } from '@apiary/overlay-net/core';
import fc from 'fast-check';
import t from 'tap';
import type { AssignedTask } from './assignments.js';
import { type EndpointsMessage, NetworkPicture } from './network-picture.js';

const network = (networkId: string, vni: number): [string, AssignedNetwork] => [
  networkId,
  {
    networkId,
    name: networkId,
    vni,
    subnet: '10.0.0.0/24',
    gateway: '10.0.0.1',
    internal: false,
    attachable: false,
    encrypted: false,
    mtu: 0,
    engineNetwork: vni === 0 ? networkId : '',
  },
];
const NETWORKS = new Map([network('front', 4097), network('host', 0)]);

function task(id: string, networkId: string): AssignedTask {
  const attached = { networkId, name: networkId, address: '10.0.0.3', aliases: [], engineNetwork: '' };
  return {
    id,
    serviceId: 's',
    serviceName: 's',
    serviceLabels: {},
    slot: 1,
    desiredState: 'running',
    observedState: 'assigned',
    template: { ContainerSpec: { Image: 'i', DNSConfig: { Nameservers: ['192.0.2.1'] } } },
    networks: [attached],
  };
}

const endpoint = (taskId: string, live = true): Endpoint => ({
  taskId,
  serviceId: 's',
  nodeId: 'n1',
  address: '10.0.0.3',
  taskName: taskId,
  aliases: [],
  live,
});

const message = (part: Partial<EndpointsMessage>): EndpointsMessage => ({
  networkId: 'front',
  version: 1,
  complete: false,
  endpoints: [],
  removedTaskIds: [],
  services: [],
  removedServiceIds: [],
  ...part,
});

function heard(): NetworkPicture {
  const picture = new NetworkPicture('n1');
  picture.dataPath(4789);
  picture.nodes({ complete: true, nodes: [], removedNodeIds: [] });
  picture.publishedPorts({ complete: true, ports: [], removed: [] });
  return picture;
}

t.test('there is no picture before every part of it was told', async (t) => {
  const picture = new NetworkPicture('n1');
  const steps = [
    () => picture.dataPath(4789),
    () => picture.nodes({ complete: true, nodes: [], removedNodeIds: [] }),
    () => picture.publishedPorts({ complete: true, ports: [], removed: [] }),
    () => picture.endpoints(message({ complete: true })),
  ];
  for (const step of steps) {
    t.equal(picture.state([task('a', 'front')], NETWORKS), undefined);
    step();
  }
  const state = picture.state([task('a', 'front')], NETWORKS);
  t.match(state, { selfId: 'n1', dataPathPort: 4789 });
  t.same([...(state?.networks.keys() ?? [])], ['front']);
  t.match(state?.tasks.get('a'), {
    serviceId: 's',
    nameservers: ['192.0.2.1'],
    attachments: [{ address: '10.0.0.3' }],
  });
});

t.test('networks of the engine have no endpoints to wait for, and those of no task are not there', async (t) => {
  const picture = heard();
  t.same([...(picture.state([task('a', 'host')], NETWORKS)?.networks.keys() ?? [])], ['host']);
  picture.endpoints(message({ complete: true }));
  t.same([...(picture.state([], NETWORKS)?.endpointSets.keys() ?? [])], []);
});

t.test('a change that was missed is noticed, and a complete message mends it', async (t) => {
  const picture = heard();
  t.throws(() => picture.endpoints(message({ version: 2 })), { code: 'internal' });
  picture.endpoints(message({ version: 7, complete: true }));
  picture.endpoints(message({ version: 8, endpoints: [endpoint('a')] }));
  t.throws(() => picture.endpoints(message({ version: 10 })), { message: /version 10, and here is version 8/ });
  picture.endpoints(message({ version: 3, complete: true, endpoints: [endpoint('b')] }));
  const set = picture.state([task('a', 'front')], NETWORKS)?.endpointSets.get('front');
  t.same([set?.version, ...(set?.endpoints.keys() ?? [])], [3, 'b']);
});

t.test('deltas add up to what a complete message would have said', async (t) => {
  const change = fc.record({ id: fc.constantFrom('a', 'b', 'c'), live: fc.boolean(), isGone: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 8 }), (steps) => {
      const picture = heard();
      picture.endpoints(message({ version: 1, complete: true }));
      const expected = new Map<string, boolean>();
      steps.forEach((step, i) => {
        const last = new Map(step.map((each) => [each.id, each]));
        const [gone, set] = [
          [...last.values()].filter((it) => it.isGone),
          [...last.values()].filter((it) => !it.isGone),
        ];
        for (const { id } of gone) expected.delete(id);
        for (const { id, live } of set) expected.set(id, live);
        const endpoints = set.map(({ id, live }) => endpoint(id, live));
        picture.endpoints(message({ version: i + 2, endpoints, removedTaskIds: gone.map(({ id }) => id) }));
      });
      const set = picture.state([task('a', 'front')], NETWORKS)?.endpointSets.get('front');
      t.same(new Map(Array.from(set?.endpoints.values() ?? [], ({ taskId, live }) => [taskId, live])), expected);
    }),
  );
});

t.test('nodes and ports come and go', async (t) => {
  const picture = heard();
  const node = (nodeId: string) => ({ nodeId, addr: '192.0.2.1', gatewaySubnet: '', wireguardKey: '' });
  const port = (publishedPort: number) => ({
    protocol: 'tcp',
    publishedPort,
    targetPort: 80,
    serviceId: 's',
    backends: [],
  });
  picture.nodes({ complete: false, nodes: [node('n1'), node('n2')], removedNodeIds: [] });
  picture.nodes({ complete: false, nodes: [], removedNodeIds: ['n2'] });
  picture.publishedPorts({ complete: false, ports: [port(80), port(81)], removed: [] });
  picture.publishedPorts({ complete: false, ports: [], removed: [{ protocol: 'tcp', publishedPort: 80 }] });
  const state = picture.state([], NETWORKS);
  t.same([...(state?.nodes.keys() ?? []), ...(state?.publishedPorts.keys() ?? [])], ['n1', 'tcp/81']);
  picture.nodes({ complete: true, nodes: [], removedNodeIds: [] });
  t.equal(picture.state([], NETWORKS)?.nodes.size, 0);
  t.equal(state?.nodes.size, 1, 'what was handed out stays as it was');
});
