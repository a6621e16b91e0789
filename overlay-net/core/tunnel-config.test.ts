import t from 'tap';
import { isTunnelAs, type NetworkState, readTunnelDump, tunnelConfig, tunnelFile } from './index.js';

const node = (nodeId: string, addr: string, wireguardKey: string) => ({
  nodeId,
  addr,
  gatewaySubnet: '',
  wireguardKey,
});

function stateOf(nodes: ReturnType<typeof node>[]): NetworkState {
  return {
    selfId: 'n1',
    dataPathPort: 4789,
    networks: new Map(),
    endpointSets: new Map(),
    nodes: new Map(nodes.map((each) => [each.nodeId, each])),
    publishedPorts: new Map(),
    tasks: new Map(),
  };
}

t.test('there is a tunnel to every other host that has a key, and to no other', async (t) => {
  t.equal(tunnelConfig(stateOf([node('n2', '192.0.2.2', 'B=')])), undefined, 'without an address of its own');
  const config = tunnelConfig(
    stateOf([
      node('n3', '2001:db8::3', 'A='),
      node('n1', '192.0.2.1', 'own='),
      node('n2', '192.0.2.2', 'B='),
      node('n4', '192.0.2.4', ''),
      node('n5', '', 'C='),
    ]),
  );
  t.same(config, {
    address: '192.0.2.1',
    port: 4790,
    peers: [
      { publicKey: 'A=', address: '2001:db8::3' },
      { publicKey: 'B=', address: '192.0.2.2' },
    ],
  });
  if (config === undefined) return;
  t.equal(
    tunnelFile(config, 'secret='),
    '[Interface]\nPrivateKey = secret=\nListenPort = 4790\n\n' +
      '[Peer]\nPublicKey = A=\nAllowedIPs = 2001:db8::3/128\nEndpoint = [2001:db8::3]:4790\n\n' +
      '[Peer]\nPublicKey = B=\nAllowedIPs = 192.0.2.2/32\nEndpoint = 192.0.2.2:4790\n',
  );
});

t.test('what wg says is compared with what should be, but for where the others are', async (t) => {
  const said =
    'secret=\town=\t4790\toff\nB=\t(none)\t192.0.2.2:41000\t192.0.2.2/32\t0\t0\t0\toff\n' +
    'A=\t(none)\t(none)\t192.0.2.3/32\t0\t0\t0\toff\n';
  const facts = readTunnelDump(said);
  t.match(facts, { privateKey: 'secret=', publicKey: 'own=', port: 4790 });
  const config = tunnelConfig(
    stateOf([node('n1', '192.0.2.1', 'own='), node('n2', '192.0.2.2', 'B='), node('n3', '192.0.2.3', 'A=')]),
  );
  if (config === undefined) throw new Error('no config');
  t.ok(isTunnelAs(config, 'secret=', facts));
  t.notOk(isTunnelAs(config, 'another=', facts));
  t.notOk(isTunnelAs({ ...config, port: 4791 }, 'secret=', facts));
  t.notOk(isTunnelAs({ ...config, peers: config.peers.slice(1) }, 'secret=', facts));
});
