import { createKeyAndCsr, csrPemOf } from '@apiary/api/client';
import {
  checkUnlockKey,
  DER_TAG,
  der,
  expandContainerSpec,
  expandContent,
  formatJoinToken,
  parseHostPort,
  parseJoinToken,
  read,
  readCertificationRequest,
  readDer,
  type ServiceSpec,
  ServiceSpecSchema,
} from '@apiary/api/model';
import { createRootCa, verifiedKeyOf } from '@apiary/manager/io';
import { convertStack, readProject } from '@apiary/stack-specs/core';
import { ApiaryError, invariant } from '@apiary/std';
import * as fc from 'fast-check';
import { damaged, damagedText } from './damage.js';
import { reader, refusal, type Target } from './target.js';

/** What is read of texts and certificates. */

const TOKEN = formatJoinToken({ rootDigest: '0123456789'.repeat(5), secret: 'abcde'.repeat(5) });
const csrPem = createKeyAndCsr().csrPem;
const csr = Buffer.from(csrPem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
const certificate = Buffer.from(createRootCa(0).certificatePem.replace(/-----[^-]+-----|\s/g, ''), 'base64');

const joinToken = reader('join token', 250, damagedText(TOKEN, ` ${TOKEN}\n`, ''), (text) =>
  refusal(() => {
    const again = formatJoinToken(parseJoinToken(text));
    invariant(again === text.trim() && again.length === TOKEN.length, `taken for a token: ${JSON.stringify(text)}`);
  }),
);

const unlockKey = reader('unlock key', 60, damagedText(`SWMKEY-1-${'Ab0+/'.repeat(8)}xyz`), (text) =>
  refusal(() => {
    checkUnlockKey(text);
    invariant(Buffer.from(text.slice(9), 'base64').length === 32, `taken for a key: ${JSON.stringify(text)}`);
  }),
);

const hostPort = reader('address', 60, damagedText('10.0.0.1:2377', '[fe80::1]:2377', 'manager.example:1'), (text) =>
  refusal(() => {
    const { port } = parseHostPort(text, 'address');
    invariant(Number.isInteger(port) && port >= 0 && port < 65_536, `taken for an address: ${JSON.stringify(text)}`);
  }),
);

const derValues = reader('DER', 100, damaged(csr, certificate), (bytes) =>
  refusal(() => {
    const again = readDer(bytes).map(({ tag, content, whole }) => {
      invariant(Buffer.from(der(tag, content)).equals(whole), 'what is read is the one form that there is');
      return whole;
    });
    invariant(Buffer.concat(again).equals(bytes), 'all of it was read');
    return again;
  }),
);

const certificateRequest = reader('certificate request', 50, damaged(csr), (bytes) =>
  refusal(() => {
    const { signed, publicKey } = readCertificationRequest(bytes);
    invariant(signed.length < bytes.length && publicKey[0] === DER_TAG.sequence, 'parts of what was given');
    verifiedKeyOf(csrPemOf(bytes));
    invariant(csr.equals(bytes), 'what the node did not sign is no request of it');
  }),
);

const certificatePem = reader('certificate request as PEM', 20, damagedText(csrPem), (text) =>
  refusal(() => {
    verifiedKeyOf(text);
    const [, base64 = ''] = /-----BEGIN [^-]+-----([^-]*)-----END/.exec(text) ?? [];
    invariant(csr.equals(Buffer.from(base64, 'base64')), 'what the node did not sign is no request of it');
  }),
);

const STACK = `
name: shop
services:
  web:
    image: "nginx:\${TAG:-1.27}"
    command: ["nginx", "-g", 'daemon off;']
    ports: ["8080:80", {target: 443, published: 8443, mode: host}]
    environment: {A: "1", B: null}
    depends_on: [db]
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64M}}, update_config: {delay: 10s, order: start-first}}
    secrets: [key]
    networks: {front: {aliases: [www]}}
    healthcheck: {test: curl -f http://localhost, interval: 1m30s}
    volumes: ["data:/data:ro", {type: tmpfs, target: /tmp}]
  db: &db
    image: postgres
    <<: {hostname: db}
networks: {front: {driver: overlay, ipam: {config: [{subnet: 10.1.0.0/24}]}}}
volumes: {data: {}}
secrets: {key: {file: ./key}}
`;
const DEEP = [
  `a: ${'['.repeat(2_000)}`,
  `${'- '.repeat(2_000)}x`,
  '&a [*a, *a]',
  `x: ${'{a: '.repeat(2_000)}`,
  '? ? ? x',
];

const CONTENT = {
  readContent: () => ({ base64: 'eA==' }),
  encode: (text: string) => Buffer.from(text).toString('base64'),
  lookup: () => undefined,
};

const stackFile = reader('stack file', 40, damagedText(STACK, STACK, STACK, ...DEEP), (text) => {
  const project = readProject({
    files: [{ shownPath: 'stack.yaml', path: '/w/stack.yaml', read: { text } }],
    lookup: (name) => (name === 'TAG' ? 'x' : undefined),
    readFile: () => ({ error: 'there is none' }),
    directory: '/w',
    home: '/root',
    profiles: [],
    interpolate: true,
  });
  const { root, diagnostics } = project;
  if (root === undefined) {
    invariant(diagnostics.hasErrors, 'what is refused is told why');
    return 'refused';
  }
  const stack = convertStack(root, { name: 'shop', isApiary: true, ...CONTENT }, diagnostics);
  if (diagnostics.hasErrors) return 'refused';
  for (const { spec } of stack.services) checkReplicas(spec);
  return 'taken';
});

function checkReplicas({ Mode }: ServiceSpec): void {
  const replicas = Mode?.Replicated?.Replicas;
  invariant(replicas === undefined || (Number.isInteger(replicas) && replicas >= 0), 'a number of replicas');
}

const TEMPLATES = [
  '{{if eq .Service.Name "web"}}{{range $k, $v := .Service.Labels}}{{$k}}={{$v | printf "%q"}};{{else}}-{{end}}{{end}}',
  '{{with $x := index .Service.Labels "a"}}{{len $x}}{{- /* c */ -}} {{slice $x 0 1}}{{else}}{{.Node.Platform.OS}}{{end}}',
  '{{secret "s"}} {{config "c" | html}} {{join "," (env "A") .Task.Name}} {{printf "%5d|%x|%.2f" 3 "h" 1.5}}',
  '{{range .Service.Labels}}'.repeat(12),
  '('.repeat(3_000),
];
const FACTS = {
  service: { id: 's1', name: 'web', labels: { a: 'one', b: 'two', c: '' } },
  node: { id: 'n1', hostname: 'h1', architecture: 'x86_64', os: 'linux' },
  task: { id: 't1', name: 'web.1.t1', slot: 1 },
};
const template = reader('template', 100, damagedText(...TEMPLATES), (text) =>
  refusal(() => {
    const bytes = Buffer.from(text).toString('latin1');
    const expanded = expandContent(bytes, FACTS, { secret: (of) => of, config: (of) => of, env: (of) => of });
    invariant(expanded.length <= 4 * 1024 * 1024, 'no more than a task is given');
    invariant(text.includes('{{') || expanded === bytes, 'what is no template stays as it is');
    const { Hostname } = expandContainerSpec({ Hostname: text }, FACTS);
    invariant(text === '' || typeof Hostname === 'string', 'a text');
  }),
);

const json = fc.json({ maxDepth: 6 });
const SPEC = JSON.stringify({
  Name: 'web',
  TaskTemplate: { ContainerSpec: { Image: 'x', Env: ['A=1'] }, Resources: { Limits: { NanoCPUs: 1 } } },
  Mode: { Replicated: { Replicas: 2 } },
});
const serviceSpec = reader('service spec', 100, fc.oneof(damagedText(SPEC), json), (text) =>
  refusal(() => {
    const spec = read(ServiceSpecSchema, parsed(text), 'service spec');
    invariant(typeof spec === 'object' && !Array.isArray(spec), `taken for a spec: ${text}`);
  }),
);

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiaryError('invalid-argument', 'no JSON', { cause: error });
  }
}

export const TEXT_TARGETS: readonly Target[] = [
  joinToken,
  unlockKey,
  hostPort,
  derValues,
  certificateRequest,
  certificatePem,
  stackFile,
  template,
  serviceSpec,
];
