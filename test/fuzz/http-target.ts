import { once } from 'node:events';
import * as http from 'node:http';
import { join } from 'node:path';
import { createHttpApi } from '@apiary/manager/http';
import { Issuer, type LocalNode, type Replica } from '@apiary/manager/io';
import { invariant } from '@apiary/std';
import * as fc from 'fast-check';
import { openManager, SELF } from './cluster.js';
import { damaged, damagedText } from './damage.js';
import type { OpenTarget, Target, Verdict } from './target.js';

const SERVICE = {
  Name: 'web',
  Labels: { a: 'b' },
  TaskTemplate: {
    ContainerSpec: { Image: 'busybox', Env: ['A=1'], Mounts: [{ Type: 'volume', Source: 'v', Target: '/v' }] },
    Resources: { Limits: { NanoCPUs: 500_000_000, MemoryBytes: 1e8 } },
    RestartPolicy: { Condition: 'any', Delay: 1e9, MaxAttempts: 3 },
    Placement: { Constraints: ['node.role==worker'] },
  },
  Mode: { Replicated: { Replicas: 1 } },
  UpdateConfig: { Parallelism: 1, Delay: 1e9, FailureAction: 'pause', Order: 'stop-first' },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
  },
};
const CONTENT = { Name: 'key', Labels: {}, Data: 'aGVsbG8=', Templating: { Name: 'golang' } };
const NETWORK = { Name: 'front', Driver: 'overlay', Attachable: true, IPAM: { Config: [{ Subnet: '10.20.0.0/24' }] } };
const NODE = { Role: 'manager', Availability: 'active', Labels: { a: 'b' } };
const CLUSTER = { Orchestration: { TaskHistoryRetentionLimit: 5 }, CAConfig: { NodeCertExpiry: 7.776e15 } };
const TOKEN = { Role: 'worker', Labels: { a: 'b' }, ValidityNs: 1e12 };
const CERTIFICATE = { Name: 'ann', Role: 'viewer', Stack: '', ValidityNs: 1e15, CsrPem: 'x' };
const bodies = [SERVICE, CONTENT, NETWORK, NODE, CLUSTER, TOKEN, CERTIFICATE, {}].map((body) => JSON.stringify(body));

const id = fc.constantFrom(
  'web',
  'key',
  'front',
  SELF,
  'n0',
  '%2e%2e',
  '%63reate',
  'x'.repeat(200),
  '%00',
  'a%20b',
  '\u00fc',
);
const words = fc.constantFrom(
  'version',
  'filters',
  'service',
  'rollback',
  'status',
  'force',
  'follow',
  'since',
  'tail',
);
const values = fc.constantFrom(
  '1',
  '-1',
  '1e99',
  '{"label":{"a":true}}',
  '{"id":["x"]}',
  '[',
  'true',
  '%zz',
  '',
  '18446744073709551616',
);
const query = fc
  .array(fc.tuple(words, fc.oneof(values, fc.string({ maxLength: 12 }).map(encodeURIComponent))), { maxLength: 4 })
  .map((all) => all.map((pair) => pair.join('=')).join('&'));
const kind = fc.constantFrom(
  'services',
  'secrets',
  'configs',
  'networks',
  'nodes',
  'tasks',
  'swarm',
  'apiary/v1/join-tokens',
);
const path = fc.oneof(
  { weight: 2, arbitrary: kind.map((each) => `/${each}/create`) },
  { weight: 2, arbitrary: kind.map((each) => `/${each}`) },
  { weight: 2, arbitrary: fc.tuple(kind, id).map((parts) => `/${parts.join('/')}`) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(kind, id, fc.constantFrom('update', 'logs', 'versions', 'rebalance', 'connect'))
      .map((parts) => `/${parts.join('/')}`),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '/swarm/update',
      '/swarm/unlock',
      '/swarm/unlockkey',
      '/swarm/init',
      '/swarm/join',
      '/networks/prune',
      '/info',
      '/version',
      '/_ping',
      '/apiary/v1/join-tokens',
      '/apiary/v1/client-certificates',
      '/apiary/v1/nodes/rebalance',
      '/apiary/v1/rebalance',
      '/apiary/v1/services/web/rebalance',
      '/apiary/v1/secrets/key/versions',
      '/apiary/v1/watch',
      '/v1.41/services',
      '/v9.99/services',
      '/v1.1/nodes',
      '//[',
    ),
  },
  {
    weight: 1,
    arbitrary: damagedText('/services/web?version=1', '/v1.41/tasks/%41').map(
      (text) => `/${encodeURI(wellFormed(text))}`,
    ),
  },
);

function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '?');
}

/** A value that nobody meant, in the place of one of a good body's. */
const odd = fc.oneof(
  fc.constantFrom<unknown>(null, -1, 0.5, 1e308, 2 ** 53, '', 'x'.repeat(5_000), [], {}, true, '\u0000', '__proto__'),
  fc.jsonValue({ maxDepth: 3 }),
);
const mutated = fc.tuple(fc.constantFrom(...bodies), fc.nat(60), odd).map(([text, place, value]) => {
  let seen = 0;
  return Buffer.from(
    JSON.stringify(JSON.parse(text, (_key, inner: unknown) => (seen++ === place ? value : inner))) ?? '',
  );
});
const deep = fc
  .tuple(fc.constantFrom('[', '{"a":', '{"Labels":'), fc.nat(50_000))
  .map(([open, times]) => Buffer.from(open.repeat(times)));
const body = fc.oneof(
  { weight: 8, arbitrary: mutated },
  { weight: 4, arbitrary: damaged(...bodies.map((text) => Buffer.from(text))) },
  { weight: 2, arbitrary: fc.constantFrom(...bodies).map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: deep.map((bytes): Uint8Array => bytes) },
);
const method = fc.constantFrom('GET', 'POST', 'POST', 'POST', 'DELETE', 'PUT', 'HEAD', 'OPTIONS');

/** Streams go on until their client goes. */
const isStream = (target: string) => /\/logs|\/watch|\/events/.test(target);
/** What Docker answers with 500 too: see STATUS and `asClusterRequest` of the API, whose code says that it is no fault. */
const DOCKERS_500 = new Set(['out-of-sequence', 'resource-exhausted']);

interface Answer {
  status: number;
  code: string;
  text: string;
}

async function ask(socketPath: string, verb: string, target: string, sent?: Uint8Array): Promise<Answer> {
  const request = http.request({ socketPath, method: verb, path: target, agent: false });
  request.end(sent);
  const [response]: http.IncomingMessage[] = await once(request, 'response');
  invariant(response !== undefined, 'a response has come');
  request.on('error', () => {});
  const answer = { status: response.statusCode ?? 0, code: String(response.headers['apiary-error-code']), text: '' };
  if (isStream(target) && answer.status === 200) {
    response.destroy();
    return answer;
  }
  for await (const chunk of response.setEncoding('utf8')) answer.text += chunk;
  return answer;
}

/** The API of a manager, on a real socket. */
export async function openHttpApi(): Promise<{
  api: Awaited<ReturnType<typeof createHttpApi>>;
  replica: Replica;
  socketPath: string;
  close(): Promise<void>;
}> {
  const manager = await openManager();
  const { replica, clock, directory } = manager;
  const remoteManagers = [{ nodeId: SELF, addr: '10.0.0.1:2377' }];
  const node: LocalNode = {
    status: () => ({
      nodeId: SELF,
      nodeAddr: '10.0.0.1',
      state: 'active',
      controlAvailable: true,
      error: '',
      remoteManagers,
    }),
    replica: () => replica,
    issuer: () => new Issuer({ identity: () => undefined, clock }),
    rotateLogKey: async () => 'k2',
    unlock: async () => {},
    logs: () => ({ read: async function* () {} }),
    init: async () => 'new-node',
    join: async () => {},
    leave: async () => [],
  };
  const logger = { info: () => {}, error: () => {} };
  const engineSocketPath = join(directory, 'no-engine.sock');
  const api = await createHttpApi({ node, clock, engineSocketPath, logger, version: '0', names: ['127.0.0.1'] });
  const socketPath = join(directory, 'swarmd.sock');
  await api.listen({ socketPath });
  const close = async () => {
    await api.close();
    await manager.close();
  };
  return { api, replica, socketPath, close };
}

/** What was made is removed again, so that there is always room for more. */
async function openApi(): Promise<OpenTarget> {
  const { replica, socketPath, close } = await openHttpApi();
  const judge = async (verb: string, target: string, sent: Uint8Array): Promise<Verdict> => {
    const { status, code, text } = await ask(socketPath, verb, target, verb === 'POST' ? sent : undefined);
    const said = () =>
      `${verb} ${target} ${Buffer.from(sent).toString('utf8').slice(0, 400)}: ${status} ${code} ${text.slice(0, 400)}`;
    invariant(status < 500 || status === 501 || status === 503 || isDockers500(code, text), said());
    // What is no HTTP, Node refuses in the words of its own parser.
    const isNoHttp = status === 400 && code === 'undefined' && text === '';
    if (status >= 400) {
      invariant(verb === 'HEAD' || isNoHttp || hasMessage(text), said());
      return 'refused';
    }
    for (const { id: serviceId, spec } of replica.view.services()) {
      invariant(/^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/.test(spec.Name ?? '') && (spec.Name ?? '').length < 64, said());
      invariant(isCount(spec.Mode?.Replicated?.Replicas), said());
      const seen = await ask(socketPath, 'GET', `/services/${serviceId}`);
      invariant(seen.status === 200, said());
      await ask(socketPath, 'DELETE', `/services/${serviceId}`);
    }
    return 'taken';
  };
  const property = fc.tuple(method, path, query, body).map(
    ([verb, target, asked, sent]) =>
      () =>
        judge(verb, asked === '' ? target : `${target}?${asked}`, sent),
  );
  return { property, close };
}

function hasMessage(text: string): boolean {
  try {
    return typeof JSON.parse(text).message === 'string';
  } catch {
    return false;
  }
}

function isCount(value: number | undefined): boolean {
  return value === undefined || (Number.isSafeInteger(value) && value >= 0);
}

/** SwarmKit gives some refusals no code, which Docker answers with 500. */
function isDockers500(code: string, text: string): boolean {
  return DOCKERS_500.has(code) || (code !== 'internal' && text.includes('code = '));
}

export const HTTP_TARGET: Target = { name: 'HTTP API', share: 120, open: openApi };
