import { createKeyAndCsr } from '@apiary/api/client';
import type { ManagerMessage } from '@apiary/api/rpc';
import type { Change } from '@apiary/manager/core';
import {
  Dispatcher,
  Issuer,
  issueCertificate,
  LogBroker,
  nodeCaService,
  RaftTransport,
  startRpcServer,
} from '@apiary/manager/io';
import { encodedMessageBytes, writeMessage } from '@apiary/raft/core';
import { ApiaryError, type Clock, invariant } from '@apiary/std';
import { SystemRng } from '@apiary/std/io';
import { ChannelCredentials, Client } from '@grpc/grpc-js';
import { pino } from 'pino';
import { type FuzzedManager, openManager, SELF } from './cluster.js';

const log = pino({ level: 'silent' });
const CHANNEL = { 'grpc.ssl_target_name_override': 'swarm-manager', 'grpc.use_local_subchannel_pool': 1 };
const HOUR_MS = 3600_000;
const DAY_MS = 24 * HOUR_MS;
/** What a stranger has to wait from one call to the next, and more. */
const CALL_MS = 10;
/** Another manager, and a worker. */
const PEER = 'm2';
export const WORKER = 'w0000000000000000000000node';

const SPEC = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'x' } }, Mode: { Replicated: { Replicas: 1 } } };
/** A task of the worker's. */
export const TASK = 'task';
const WORK: Change[] = [
  {
    type: 'node-create',
    node: { id: WORKER, role: 'worker', spec: {}, status: { state: 'ready', message: '', addr: '' } },
  },
  { type: 'service-create', id: 'service', spec: SPEC },
  {
    type: 'task-create',
    task: {
      id: TASK,
      serviceId: 'service',
      specVersion: 1,
      slot: 1,
      nodeId: WORKER,
      desiredState: 'running',
      status: { state: 'running', atMs: 0, message: '' },
      restarts: { attempts: 0, failuresInARow: 0, recentMs: [] },
    },
  },
];

/** Where a manager listens for nodes, with all that is served there, and those who call: each with what it has to show. */
export interface RpcDoor {
  addr: string;
  manager: FuzzedManager;
  /** With no certificate. */
  stranger: Client;
  worker: Client;
  /** The manager's own node. */
  node: Client;
  /** Another manager. */
  peer: Client;
  broker: LogBroker;
  /** What agents were told last, whether they have a session or not. */
  told(): ManagerMessage['body'];
  close(): Promise<void>;
}

export async function openRpcDoor(): Promise<RpcDoor> {
  const manager = await openManager();
  const { replica, rootCa, clock } = manager;
  const rng = new SystemRng();
  const clusterId = replica.view.cluster()?.id ?? '';
  await replica.submit(() => ({ guards: [], changes: WORK, result: undefined }));
  const identityOf = (nodeId: string, role: 'manager' | 'worker') => {
    const { keyPem, csrPem } = createKeyAndCsr();
    const order = { rootCa, csrPem, nodeId, role, clusterId, validityMs: DAY_MS, nowMs: clock.now() };
    return { keyPem, certificateChainPem: issueCertificate(order), rootPem: rootCa.certificatePem };
  };
  const dispatcher = new Dispatcher({ replica, clock, log });
  let told: ManagerMessage['body'];
  const agents: ConstructorParameters<typeof LogBroker>[0]['agents'] = {
    tell: (_nodeId, body) => {
      told = body;
      return true;
    },
    onSession: () => () => {},
    onLogNothing: () => () => {},
  };
  const broker = new LogBroker({ replica, agents, clock, rng });
  const transport = new RaftTransport({
    identity: () => ({ ...identity, nodeId: SELF, clusterId }),
    addressOf: () => undefined,
    ownAddr: () => undefined,
    onAddress: () => {},
    clock,
    rng,
    logger: log,
  });
  transport.start({
    // Only what a member could have written comes through, and in the name of who sent it.
    receive: (message) => {
      invariant(message.from === PEER && message.to === SELF, `from ${message.from} to ${message.to}`);
      writeMessage(message, new Uint8Array(encodedMessageBytes(message)), 0);
    },
    unreachable: () => {},
    accept: (entry) =>
      entry.length > 8 ? Promise.reject(new ApiaryError('unavailable', 'no')) : Promise.resolve({ index: 1, term: 1 }),
  });
  const issuer = new Issuer({ identity: () => undefined, clock });
  const services = [
    nodeCaService({ replica, issuer, clock, rng, log }),
    dispatcher.service,
    transport.service,
    ...broker.services,
  ];
  const identity = identityOf(SELF, 'manager');
  // Time passes with each look at the clock: who asks so much so fast would be turned away unread.
  let skewMs = 0;
  const hasty: Clock = {
    now: () => {
      skewMs = (skewMs + CALL_MS) % HOUR_MS;
      return clock.now() + skewMs;
    },
    after: (delayMs, callback) => clock.after(delayMs, callback),
  };
  const server = await startRpcServer({ listenAddr: '127.0.0.1:0', identity, services, replica, clock: hasty });
  const root = Buffer.from(rootCa.certificatePem);
  const clientOf = ({ keyPem, certificateChainPem }: { keyPem: string; certificateChainPem: string }) => {
    const [key, chain] = [Buffer.from(keyPem), Buffer.from(certificateChainPem)];
    return new Client(server.addr, ChannelCredentials.createSsl(root, key, chain), CHANNEL);
  };
  const clients = {
    node: clientOf(identity),
    worker: clientOf(identityOf(WORKER, 'worker')),
    peer: clientOf(identityOf(PEER, 'manager')),
    stranger: new Client(server.addr, ChannelCredentials.createSsl(root), CHANNEL),
  };
  const close = async () => {
    for (const client of Object.values(clients)) client.close();
    broker.close();
    dispatcher.close();
    await transport.close();
    await server.close();
    await manager.close();
  };
  return { addr: server.addr, manager, broker, told: () => told, ...clients, close };
}
