import { X509Certificate } from 'node:crypto';
import { createKeyAndCsr, fromRpcError } from '@apiary/api/client';
import {
  type AgentMessage,
  DispatcherService,
  LogReaderClient,
  LogsClient,
  type ManagerMessage,
  RaftClient,
} from '@apiary/api/rpc';
import { invariant, SeededRng } from '@apiary/std';
import { Client, type ServerDuplexStream, type ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import { createNetwork } from '../../core/requests/index.js';
import { LogBroker } from '../logs/index.js';
import { RaftTransport } from '../raft-transport/index.js';
import {
  CHANNEL,
  credentialsOf,
  DESCRIPTION,
  identityOf,
  issue,
  log,
  openCluster,
  roundTrip,
  serviceWithTasks,
  TestAgent,
} from './test-cluster.js';

/** Whoever has the certificate and key of a worker, and is not one: everything that it must not. */

async function attacked(t: Parameters<typeof openCluster>[0]) {
  const cluster = await openCluster(t, ({ replica, clock, dispatcher }) => {
    const broker = new LogBroker({ replica, agents: dispatcher, clock, rng: new SeededRng(1) });
    const transport = new RaftTransport({
      identity: () => ({ ...identityOf(rootCaOf(), 'm1', 'manager'), nodeId: 'm1', clusterId: 'c1' }),
      addressOf: () => undefined,
      ownAddr: () => '127.0.0.1:1',
      onAddress: () => undefined,
      onRefused: () => undefined,
      clock,
      rng: new SeededRng(1),
      logger: log,
    });
    t.teardown(() => broker.close());
    t.teardown(() => transport.close());
    return [transport.service, ...broker.services];
  });
  function rootCaOf() {
    return cluster.rootCa;
  }
  const identity = identityOf(cluster.rootCa, 'w1', 'worker');
  serviceWithTasks(cluster.replica, ['own', 'w1'], ['foreign', 'w2']);
  return { ...cluster, identity };
}

t.test('it cannot say what became of the tasks of other nodes', async (t) => {
  const { server, replica, identity } = await attacked(t);
  const agent = new TestAgent(t, server, identity);
  await agent.open();
  agent.report(1, { foreign: { state: 'failed', err: 'so I say' }, unknown: { state: 'running' } });
  await agent.take('statusAck');
  t.match(replica.view.task('foreign')?.status, { state: 'assigned', err: undefined });
  t.equal(replica.view.task('unknown'), undefined);
});

t.test('it cannot take back what became of its own tasks, by saying old things again', async (t) => {
  const { server, replica, identity } = await attacked(t);
  const agent = new TestAgent(t, server, identity);
  await agent.open();
  agent.report(1, { own: { state: 'running' } });
  agent.report(2, { own: { state: 'failed', err: 'it ended' } });
  agent.report(2, { own: { state: 'running' } });
  agent.report(1, { own: { state: 'starting' } });
  await agent.take('statusAck');
  await roundTrip(agent);
  t.match(replica.view.task('own')?.status, { state: 'failed', err: 'it ended' });
});

t.test('it sees its own tasks only, whatever it says of itself', async (t) => {
  const { server, replica, identity } = await attacked(t);
  const agent = new TestAgent(t, server, identity);
  const claims = JSON.parse(DESCRIPTION);
  agent.say({
    $case: 'hello',
    value: {
      contentKey: agent.contents.contentKey,
      description: {
        descriptionJson: JSON.stringify({ ...claims, ID: 'w2', Role: 'manager', Hostname: 'w2' }),
        advertiseAddr: '192.0.2.2',
        engineError: '',
        managerAddr: '192.0.2.2:2377',
        wireguardKey: '',
      },
    },
  });
  const { value } = await agent.take('assignments');
  t.same(
    value.tasks.map(({ taskId }) => taskId),
    ['own'],
  );
  t.match(replica.view.node('w1'), { role: 'worker' });
  t.match(replica.view.node('w2'), { status: { state: 'unknown' } }, 'nothing was said in the name of another');
});

t.test('it gets no address of another under its id, with a container of its own', async (t) => {
  const { server, replica, identity } = await attacked(t);
  const IPAM = { Config: [{ Subnet: '10.9.0.0/24' }] };
  const spec = { Name: 'front', Driver: 'overlay', Attachable: true, IPAM };
  const networkId = await replica.submit((view, { rng }) => createNetwork(view, spec, rng));
  const [task, container, vip] = ['10.9.0.7', '10.9.0.8', '10.9.0.9'].map((address) => ({ networkId, address }));
  invariant(task !== undefined && container !== undefined && vip !== undefined, 'three addresses');
  const named = { containerId: '', containerName: '', aliases: [] };
  const status = { state: 'running' as const, atMs: 0, message: '' };
  const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
  const of = { serviceId: 's1', specVersion: 1, slot: 3, nodeId: 'w2', desiredState: 'running' as const };
  const service = { Name: 'db', TaskTemplate: { ContainerSpec: { Image: 'x' } } };
  replica.apply([
    { type: 'task-create', task: { id: 'other', ...of, status, restarts, networks: [task] } },
    { type: 'attachment-put', attachment: { id: 'beside', nodeId: 'w2', ...container, ...named } },
    { type: 'service-create', id: 's2', spec: service },
    { type: 'service-endpoint', id: 's2', endpoint: { ports: [], vips: [vip] } },
  ]);
  const agent = new TestAgent(t, server, identity);
  await agent.open();
  await agent.take('attachments');
  const claims = Object.entries({ other: task, beside: container, s2: vip });
  const attachments = claims.map(([attachmentId, place]) => {
    return { attachmentId, ...place, ...named, ipv6Address: '', hasIpv6: false };
  });
  agent.say({ $case: 'attachments', value: { attachments, isComplete: true } });
  const { value } = await agent.take('attachments');
  t.same(
    value.attachments.map(({ attachmentId, error }) => [attachmentId, error]),
    claims.map(([id]) => [id, `attachment id ${id} is in use: choose another`]),
  );
  t.same(
    replica.view.attachments().map(({ id, nodeId }) => [id, nodeId]),
    [['beside', 'w2']],
  );
});

t.test('it is sent no secret but of its own tasks, and opens none that another was sent', async (t) => {
  const { server, replica, rootCa } = await openCluster(t);
  const words = Buffer.from('the words of a secret').toString('base64');
  const [own, other] = ['own', 'other'].map((name) => ({ SecretID: name, SecretName: name, File: { Name: name } }));
  for (const [id, reference, nodeId] of [
    ['s1', own, 'w1'],
    ['s2', other, 'w2'],
  ] as const) {
    const name = reference?.SecretName ?? '';
    const spec = {
      Name: id,
      TaskTemplate: { ContainerSpec: { Image: 'x', Secrets: reference === undefined ? [] : [reference] } },
      Mode: { Replicated: { Replicas: 1 } },
    };
    const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
    const status = { state: 'assigned', atMs: 0, message: '' } as const;
    replica.apply([
      {
        type: 'content-create',
        kind: 'secret',
        content: { id: name, spec: { Name: name, Data: words }, hash: name, salt: '' },
      },
      { type: 'service-create', id, spec },
      {
        type: 'task-create',
        task: {
          id: `of-${id}`,
          serviceId: id,
          specVersion: 1,
          slot: 1,
          nodeId,
          desiredState: 'running',
          status,
          restarts,
        },
      },
    ]);
  }
  const thief = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  const honest = new TestAgent(t, server, identityOf(rootCa, 'w2', 'worker'));
  thief.hello();
  honest.hello();
  const [mine, theirs] = [await thief.take('assignments'), await honest.take('assignments')];
  t.same(
    mine.value.contents.map(({ contentId }) => contentId),
    ['own'],
  );
  const [overheard] = theirs.value.contents;
  t.equal(overheard?.contentId, 'other');
  t.throws(() => thief.contents.open(overheard?.sealed ?? Buffer.alloc(0), 'other'));
  // Whatever it says of a task that is not its own, it is not sent what that needs.
  thief.report(1, { 'of-s2': { state: 'running' } });
  thief.say({ $case: 'logNothing', value: { queryId: 'of-s2' } });
  await thief.take('statusAck');
  await roundTrip(thief);
  t.notOk(
    thief.heard.some(
      (body) => body.$case === 'assignments' && body.value.contents.some(({ contentId }) => contentId === 'other'),
    ),
  );
});

t.test('it brings no logs that it was not asked for', async (t) => {
  const { server, identity } = await attacked(t);
  const client = new LogsClient(server.addr, credentialsOf(identity), CHANNEL);
  t.teardown(() => client.close());
  const refusal = await new Promise((resolve) => {
    const stream = client.publish((error) => resolve(error && fromRpcError(error)));
    stream.write({ queryId: 'made up', lines: [], problems: [], isLast: true });
    stream.end();
  });
  t.match(refusal, { code: 'permission-denied', message: /node w1 was not asked for these logs/ });
});

t.test('what it says of its own tasks has to be something that a task can be', async (t) => {
  const { server, replica, identity } = await attacked(t);
  const agent = new TestAgent(t, server, identity);
  await agent.open();
  const said = (sequence: number, statusJson: string) =>
    agent.say({ $case: 'statusReport', value: { sequence, updates: [{ taskId: 'own', statusJson }] } });
  const nonsense = [
    '{"state":"new"',
    '{"state":"risen","atMs":1}',
    '[]',
    'null',
    '{"state":"running","atMs":"x"}',
    '{"__proto__":{"state":"failed"}}',
  ];
  for (const [i, text] of nonsense.entries()) said(i + 1, text);
  for (const _ of nonsense) await agent.take('statusAck');
  t.match(replica.view.task('own')?.status, { state: 'assigned' });
});

t.test('calls for managers are refused, whatever is in them', async (t) => {
  const { server, replica, identity } = await attacked(t);
  const denied = { code: 'permission-denied', message: /node w1 is a worker: this call is for managers only/ };
  const before = replica.entries.length;
  const raft = new RaftClient(server.addr, credentialsOf(identity), CHANNEL);
  const logs = new LogReaderClient(server.addr, credentialsOf(identity), CHANNEL);
  t.teardown(() => {
    raft.close();
    logs.close();
  });
  const failureOf = (stream: {
    on(event: 'error', listener: (error: ServiceError) => void): unknown;
    resume?(): unknown;
  }) =>
    new Promise((resolve) => {
      stream.on('error', (error) => resolve(fromRpcError(error)));
      stream.resume?.();
    });
  const refusals = await Promise.all(
    (['messages', 'snapshots'] as const).map(
      (method) => new Promise((resolve) => raft[method]((error) => resolve(error && fromRpcError(error)))),
    ),
  );
  t.match(refusals, [denied, denied]);
  t.match(await failureOf(raft.forward()), denied);
  t.match(
    await failureOf(logs.read({ serviceId: 's1', taskId: '', options: undefined, after: [], kept: false })),
    denied,
  );
  t.equal(replica.entries.length, before);
});

t.test('a renewal makes it no more than it is', async (t) => {
  const { server, identity, rootCa } = await attacked(t);
  const answer = await issue(t, server, identity, { managerAddr: '192.0.2.1:2377', csrPem: createKeyAndCsr().csrPem });
  t.match(answer, { nodeId: 'w1', role: 'worker' });
  t.match(new X509Certificate(answer.certificateChainPem).subject, /OU=swarm-worker/);
  const other = identityOf(rootCa, 'w9', 'worker');
  await t.rejects(issue(t, server, other, {}), { code: 'not-found' }, 'with a certificate of a node that is gone');
});

t.test('what is too large, or nonsense, ends its own session and nobody else', async (t) => {
  const { server, replica, identity, rootCa } = await attacked(t);
  const honest = new TestAgent(t, server, identityOf(rootCa, 'w2', 'worker'));
  await honest.open();
  const agent = new TestAgent(t, server, identity);
  await agent.open();
  agent.report(1, { own: { state: 'running', message: 'x'.repeat(5 * 1024 * 1024) } });
  t.match(await agent.ended, { code: 'resource-exhausted' });
  for (const descriptionJson of ['{"Hostname":1}', `{"Hostname":"${'x'.repeat(70_000)}"}`, '['.repeat(60_000)]) {
    const next = new TestAgent(t, server, identity);
    const description = { descriptionJson, advertiseAddr: '', engineError: '', managerAddr: '', wireguardKey: '' };
    next.say({ $case: 'hello', value: { contentKey: next.contents.contentKey, description } });
    t.match(await next.ended, { code: 'invalid-argument' });
  }
  honest.report(1, { foreign: { state: 'running' } });
  await honest.take('statusAck');
  t.equal(replica.view.task('foreign')?.status.state, 'running');
  t.equal(replica.view.task('own')?.status.state, 'assigned');
});

const REPORTS: ((sequence: number) => NonNullable<AgentMessage['body']>)[] = [
  (sequence) => {
    const statusJson = JSON.stringify({ state: 'running', atMs: 1, message: `${sequence}` });
    return { $case: 'statusReport', value: { sequence, updates: [{ taskId: 'own', statusJson }] } };
  },
  (sequence) => {
    const empty = { advertiseAddr: '', engineError: '', managerAddr: '' };
    return { $case: 'description', value: { descriptionJson: DESCRIPTION, ...empty, wireguardKey: `${sequence}` } };
  },
  () => ({ $case: 'attachments', value: { attachments: [], isComplete: true } }),
];

for (const report of REPORTS) {
  t.test(`it is read no further while much that it said waits: ${report(0).$case}`, async (t) => {
    const { server, replica, identity } = await attacked(t);
    const agent = new TestAgent(t, server, identity);
    await agent.open();
    let commit = () => {};
    replica.gate = new Promise((resolve) => {
      commit = resolve;
    });
    let isOver = false;
    void agent.ended.then(() => {
      isOver = true;
    });
    for (let sequence = 1; sequence <= 40; sequence++) {
      agent.say(report(sequence));
      await roundTrip(agent);
    }
    agent.hello();
    for (let i = 0; i < 10; i++) await roundTrip(agent);
    t.notOk(isOver, 'a second Hello ends the session once it is read');
    commit();
    t.match(await agent.ended, { message: 'Hello was said before in this session' });
  });
}

t.test('bytes that are no message end its call, also while it is spoken to', async (t) => {
  const definition = { talk: { ...DispatcherService.session, path: '/apiary.v1.Test/Talk' as const } };
  const implementation = {
    talk: (call: ServerDuplexStream<AgentMessage, ManagerMessage>) => {
      for (let i = 0; i < 200; i++) call.write({ body: undefined });
      call.resume();
    },
  };
  const { server, rootCa } = await openCluster(t, () => [{ definition, implementation, access: 'node' }]);
  const client = new Client(server.addr, credentialsOf(identityOf(rootCa, 'w1', 'worker')), CHANNEL);
  t.teardown(() => client.close());
  const asIs = (bytes: Buffer) => bytes;
  for (let round = 0; round < 10; round++) {
    const call = client.makeBidiStreamRequest('/apiary.v1.Test/Talk', asIs, asIs);
    const ended = new Promise((resolve) => call.on('error', (error) => resolve(fromRpcError(error))));
    call.once('data', () => call.write(Buffer.from('2eff', 'hex')));
    t.match(await ended, { message: /deserializing/ });
  }
});
