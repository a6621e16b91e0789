import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import * as http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiaryError, invariant } from '@apiary/std';
import { libnetworkDriver, PluginServer } from '@apiary/worker/io';
import * as fc from 'fast-check';
import { NETWORK } from './cluster.js';
import { damaged, damagedText } from './damage.js';
import type { OpenTarget, Target, Verdict } from './target.js';

/** What the engine asks of the driver of the cluster's networks, over its socket. */

const OPTIONS = { 'com.docker.network.generic': { 'apiary.network': 'net' }, 'apiary.network': 'net' };
const BODIES = [
  { Pool: '10.0.0.0/24', Options: OPTIONS },
  { Pool: 'fd00::/64', V6: true, Options: { ...OPTIONS, 'apiary.ipv6': 'true' } },
  { PoolID: 'net/6', Address: 'fd00::5', Options: null },
  { PoolID: 'net', Address: '10.0.0.1', Options: { RequestAddressType: 'com.docker.network.gateway' } },
  { PoolID: 'net', Address: '10.0.0.5', Options: null },
  {
    NetworkID: 'net',
    EndpointID: 'e1',
    Interface: { Address: '10.0.0.5/24', AddressIPv6: 'fd00::5/64', MacAddress: '02:42:0a:00:00:05' },
  },
  { NetworkID: 'net', EndpointID: 'e1', SandboxKey: '/var/run/docker/netns/1', Options: OPTIONS },
].map((body) => Buffer.from(JSON.stringify(body)));

async function open(): Promise<OpenTarget> {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-fuzz-'));
  const socketPath = join(directory, 'plugin.sock');
  const known = (networkId: string) => {
    if (networkId !== 'net') throw new ApiaryError('not-found', `network ${networkId} is not here`);
    return { ...NETWORK, attachable: true };
  };
  const calls = libnetworkDriver({
    toldNetwork: async (networkId) => known(networkId),
    request: async (networkId, address) => {
      known(networkId);
      return address === '' ? '10.0.0.5' : address;
    },
    requestIpv6: async (networkId, address) => {
      known(networkId);
      return address === '' ? 'fd00::5' : address;
    },
    release: () => {},
    networkDeleted: () => {},
    offer: async () => {},
    retract: async () => {},
    join: (_endpoint, networkId) => ({ link: 'link', internal: known(networkId).internal }),
    leave: () => {},
  });
  const server = await PluginServer.listen(socketPath, calls);
  const ask = async (name: string, body: Uint8Array): Promise<{ status: number; text: string }> => {
    const request = http.request({ socketPath, method: 'POST', path: `/${name}`, agent: false });
    request.end(body);
    const [response]: http.IncomingMessage[] = await once(request, 'response');
    invariant(response !== undefined, 'it is answered');
    let text = '';
    for await (const piece of response.setEncoding('utf8')) text += piece;
    return { status: response.statusCode ?? 0, text };
  };
  const judge = async (name: string, body: Uint8Array): Promise<Verdict> => {
    const { status, text } = await ask(encodeURIComponent(name), body);
    const said: unknown = JSON.parse(text);
    invariant(typeof said === 'object' && said !== null, `${name}: ${text}`);
    invariant(status === 200 || (status === 404 && 'Err' in said), `${name}: ${status} ${text}`);
    if (!Object.hasOwn(calls, name)) {
      invariant('Err' in said, `taken for a call: ${name}`);
      return 'refused';
    }
    const again = await ask('Plugin.Activate', Buffer.alloc(0));
    invariant(again.text.includes('NetworkDriver'), again.text);
    return 'Err' in said ? 'refused' : 'taken';
  };
  const odd = fc.oneof(
    fc.constantFrom('constructor', '__proto__', 'toString', ''),
    damagedText(...Object.keys(calls)).map((text) => text.replace(/\p{Surrogate}/gu, '?')),
  );
  const name = fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(...Object.keys(calls)) },
    { weight: 1, arbitrary: odd },
  );
  const body = fc.oneof(fc.constantFrom(...BODIES), damaged(...BODIES));
  const property = fc.tuple(name, body).map(
    ([call, sent]) =>
      () =>
        judge(call, sent),
  );
  const close = async () => {
    await server.close();
    await rm(directory, { recursive: true });
  };
  return { property, close };
}

export const DRIVER_TARGET: Target = { name: 'network driver', share: 20, open };
