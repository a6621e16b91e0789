import { ContentOpener, createKeyAndCsr, fromRpcError, LEADER_ADDR_KEY } from '@apiary/api/client';
import type { TaskStatus } from '@apiary/api/model';
import {
  type AgentMessage,
  DispatcherClient,
  type IssueCertificateResponse,
  type ManagerMessage,
  NodeCaClient,
  NodeCaService,
} from '@apiary/api/rpc';
import { SystemRng } from '@apiary/std/io';
import { ChannelCredentials, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { pino } from 'pino';
import type { Test } from 'tap';
import { createRootCa, issueCertificate, type RootCa } from '../trust/authority.js';
import { Issuer } from '../trust/issuer.js';
import { Dispatcher } from './dispatcher.js';
import { ListReplica, SettableClock } from './list-replica.js';
import { nodeCaService } from './node-ca.js';
import { type RpcServer, type RpcService, startRpcServer } from './server.js';

/** What tests of the managers' door stand on: a cluster behind it, and an agent before it. */

export const log = pino({ level: 'silent' });
export const DAY_MS = 24 * 3600 * 1000;
export const WORKER_SECRET = 'w'.repeat(25);
export const MANAGER_SECRET = 'm'.repeat(25);

export interface Identity {
  certificateChainPem: string;
  keyPem: string;
  rootPem: string;
}

export function identityOf(
  rootCa: RootCa,
  nodeId: string,
  role: 'worker' | 'manager',
  { nowMs = Date.now(), validityMs = DAY_MS } = {},
): Identity {
  const { keyPem, csrPem } = createKeyAndCsr();
  const certificateChainPem = issueCertificate({ rootCa, csrPem, nodeId, role, clusterId: 'c1', validityMs, nowMs });
  return { certificateChainPem, keyPem, rootPem: rootCa.certificatePem };
}

interface Behind {
  replica: ListReplica;
  clock: SettableClock;
  dispatcher: Dispatcher;
}

/**
 * A manager's door over a replica, with the nodes `m1` (manager), `w1` and `w2`.
 *
 * @param more  what else is served
 */
export async function openCluster(t: Test, more: (behind: Behind) => RpcService[] = () => []) {
  const clock = new SettableClock(Date.now());
  const replica = new ListReplica(clock);
  const rootCa = createRootCa(Date.now());
  const joinSecrets = { worker: WORKER_SECRET, manager: MANAGER_SECRET };
  const status = { state: 'unknown' as const, message: '', addr: '' };
  replica.apply([
    { type: 'cluster-create', cluster: { id: 'c1', spec: {}, joinSecrets, rootCa } },
    { type: 'node-create', node: { id: 'm1', role: 'manager', spec: {}, status, managerAddr: '127.0.0.1:2377' } },
    { type: 'node-create', node: { id: 'w1', role: 'worker', spec: {}, status } },
    { type: 'node-create', node: { id: 'w2', role: 'worker', spec: {}, status } },
  ]);
  const dispatcher = new Dispatcher({ replica, clock, log });
  const identity = identityOf(rootCa, 'm1', 'manager');
  const issuer = new Issuer({ identity: () => identity, clock });
  const services = [
    nodeCaService({ replica, issuer, clock, rng: new SystemRng(), log }),
    dispatcher.service,
    ...more({ replica, clock, dispatcher }),
  ];
  const server = await startRpcServer({ listenAddr: '127.0.0.1:0', identity, services, replica, clock });
  t.teardown(async () => {
    dispatcher.close();
    await server.close();
  });
  return { clock, replica, rootCa, server, dispatcher };
}

export const CHANNEL = {
  'grpc.ssl_target_name_override': 'swarm-manager',
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': -1,
};

export function credentialsOf({
  rootPem,
  keyPem,
  certificateChainPem,
}: Partial<Identity> & { rootPem: string }): ChannelCredentials {
  const [root, key, chain] = [rootPem, keyPem, certificateChainPem].map((pem) =>
    pem === undefined ? null : Buffer.from(pem),
  );
  return ChannelCredentials.createSsl(root, key, chain);
}

/** An agent's side of a session, written for the test: it says what it is told to, and keeps what it hears. */
export class TestAgent {
  readonly client: DispatcherClient;
  readonly stream: ClientDuplexStream<AgentMessage, ManagerMessage>;
  readonly heard: NonNullable<ManagerMessage['body']>[] = [];
  /** Resolves with the words that end the session, and where the manager sends the agent. */
  readonly ended: Promise<{ code: string; message: string; leaderAddr?: string | undefined }>;
  /** Opens the contents that it is sent. */
  readonly contents = new ContentOpener();
  #onHeard: () => void = () => undefined;

  constructor(t: Test, server: Pick<RpcServer, 'addr'>, identity: Partial<Identity> & { rootPem: string }) {
    this.client = new DispatcherClient(server.addr, credentialsOf(identity), CHANNEL);
    this.stream = this.client.session();
    t.teardown(() => {
      this.stream.cancel();
      this.client.close();
    });
    this.stream.on('data', ({ body }: ManagerMessage) => {
      if (body !== undefined) this.heard.push(body);
      this.#onHeard();
    });
    this.ended = new Promise((resolve) => {
      this.stream.on('error', (error: Partial<ServiceError>) => {
        const { code, message } = fromRpcError(error);
        resolve({ code, message, leaderAddr: error.metadata?.get(LEADER_ADDR_KEY)[0]?.toString() });
      });
      this.stream.on('end', () => resolve({ code: 'ok', message: '' }));
    });
  }

  say(body: NonNullable<AgentMessage['body']>): void {
    this.stream.write({ body });
  }

  hello({ engineError = '', advertiseAddr = '', managerAddr = '' } = {}): void {
    this.say({
      $case: 'hello',
      value: {
        contentKey: this.contents.contentKey,
        description: { descriptionJson: DESCRIPTION, advertiseAddr, engineError, managerAddr, wireguardKey: '' },
      },
    });
  }

  report(sequence: number, updates: Record<string, Partial<TaskStatus>>): void {
    this.say({
      $case: 'statusReport',
      value: {
        sequence,
        updates: Object.entries(updates).map(([taskId, status]) => ({
          taskId,
          statusJson: JSON.stringify({ atMs: 1, message: '', ...status }),
        })),
      },
    });
  }

  /** The next message of a kind that was not taken before. */
  async take<C extends NonNullable<ManagerMessage['body']>['$case']>(kind: C) {
    for (;;) {
      const at = this.heard.findIndex(({ $case }) => $case === kind);
      const [found] = at < 0 ? [] : this.heard.splice(at, 1);
      if (found !== undefined) return found as Extract<NonNullable<ManagerMessage['body']>, { $case: C }>;
      await new Promise<void>((resolve) => {
        this.#onHeard = resolve;
      });
    }
  }

  async open(): Promise<void> {
    this.hello();
    await this.take('assignments');
  }
}

export const DESCRIPTION = JSON.stringify({
  Hostname: 'host',
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 2e9, MemoryBytes: 4e9 },
  Engine: { EngineVersion: '20.10', Plugins: [] },
});

/** Resolves when an entry has been applied after which `holds`. */
export function until(replica: ListReplica, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (!holds()) return;
      stop();
      resolve();
    };
    const stop = replica.subscribe(check);
    check();
  });
}

/** Resolves when the manager has read what the agent said before: the answer comes on the same connection. */
export function roundTrip({ client }: TestAgent): Promise<void> {
  const { path, requestSerialize, responseDeserialize } = NodeCaService.getRootCertificate;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, {}, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

export function serviceWithTasks(replica: ListReplica, ...tasks: [id: string, nodeId: string][]): void {
  const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
  const status: TaskStatus = { state: 'assigned', atMs: 0, message: '' };
  if (replica.view.service('s1') === undefined) {
    const spec = {
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'x' } },
      Mode: { Replicated: { Replicas: 1 } },
    };
    replica.apply([{ type: 'service-create', id: 's1', spec }]);
  }
  replica.apply(
    tasks.map(([id, nodeId]) => ({
      type: 'task-create',
      task: { id, serviceId: 's1', specVersion: 1, slot: 1, nodeId, desiredState: 'running', status, restarts },
    })),
  );
}

export function issue(
  t: Test,
  server: Pick<RpcServer, 'addr'>,
  identity: Partial<Identity> & { rootPem: string },
  request: { csrPem?: string; joinToken?: string; availability?: string; managerAddr?: string },
): Promise<IssueCertificateResponse> {
  const client = new NodeCaClient(server.addr, credentialsOf(identity), CHANNEL);
  t.teardown(() => client.close());
  const { csrPem = createKeyAndCsr().csrPem, joinToken = '', availability = '', managerAddr = '' } = request;
  return new Promise((resolve, reject) => {
    const former = { formerCertificatePem: '', formerSignature: Buffer.alloc(0) };
    client.issueCertificate({ csrPem, joinToken, availability, managerAddr, ...former }, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(fromRpcError(error));
    });
  });
}
