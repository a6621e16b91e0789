import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import * as http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiError, createClient } from '@apiary/api/client';
import type { NodeDescription, ServiceSpec, TaskStatus } from '@apiary/api/model';
import { noPeers, ReplicatedLog } from '@apiary/raft/io';
import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import type { Test } from 'tap';
import { initCluster } from '../../core/requests/index.js';
import type { Change } from '../../core/store/change.js';
import type { LocalNode, LocalNodeStatus, Logs } from '../ports.js';
import { StoreReplica } from '../replica.js';
import { createRootCa, Issuer } from '../trust/index.js';
import { AuditLog, createHttpApi } from './index.js';
import type { HttpApiOptions } from './server.js';

export const NO_SWARM = 'This node is not a swarm manager. Use "docker swarm init" to make it one.';
export const SELF = 'n0000000000000000000000self';
export const description: NodeDescription = {
  Hostname: 'h1',
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 2e9, MemoryBytes: 1e9 },
  Engine: { EngineVersion: '20.10.24', Plugins: [] },
};

const OUTSIDE: LocalNodeStatus = {
  nodeId: '',
  nodeAddr: '',
  state: 'inactive',
  controlAvailable: false,
  error: '',
  remoteManagers: [],
};

/** A node that is in no cluster, and agrees to all; but for what is given. */
export function localNode(parts: Partial<LocalNode> = {}): LocalNode {
  const refuse = () => {
    throw new ApiaryError('not-manager', NO_SWARM);
  };
  return {
    status: () => OUTSIDE,
    replica: refuse,
    logs: refuse,
    issuer: () => new Issuer({ identity: () => undefined, clock: new VirtualClock() }),
    rotateLogKey: async () => 'k2',
    unlock: async () => {},
    init: async () => 'new-node',
    join: async () => {},
    leave: async () => [],
    ...parts,
  };
}

/** The API over a real socket, a real store and a real log; no engine. A node without a cluster, or its manager. */
export async function serve(
  t: Test,
  { manager, patience }: { manager: boolean; patience?: HttpApiOptions['patience'] },
) {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-http-'));
  const clock = new VirtualClock(1_700_000_000_000);
  const log = new ReplicatedLog({
    directory: join(directory, 'log'),
    identity: { clusterId: 'c1', memberId: 'm1' },
    start: 'bootstrap',
    transport: noPeers(),
    clock,
    rng: new SeededRng(1),
  });
  const replica = new StoreReplica({
    log,
    clock,
    rng: new SeededRng(1),
    onFatal: (error) => {
      throw error;
    },
  });
  await replica.open();
  const rootCa = createRootCa(clock.now());
  if (manager) {
    const init = {
      nodeId: SELF,
      rootCa,
      availability: 'active',
      addr: '10.0.0.1',
      managerAddr: '10.0.0.1:2377',
    } as const;
    await replica.submit((view, { rng }) => initCluster(view, { ...init, description }, rng));
  }
  const calls: string[] = [];
  const logs: Logs = { read: async function* () {} };
  const status: LocalNodeStatus = manager
    ? {
        nodeId: SELF,
        nodeAddr: '10.0.0.1',
        state: 'active',
        controlAvailable: true,
        error: '',
        remoteManagers: [{ nodeId: SELF, addr: '10.0.0.1:2377' }],
      }
    : OUTSIDE;
  const node = localNode({
    status: () => status,
    ...(manager && { replica: () => replica }),
    logs: () => ({ read: (request, signal) => logs.read(request, signal) }),
    init: async ({ AdvertiseAddr }) => {
      calls.push(`init ${AdvertiseAddr}`);
      return 'new-node';
    },
    join: async (request) => void calls.push(`join ${request.RemoteAddrs?.join()}`),
    leave: async (force) => {
      if (!force) throw new ApiaryError('failed-precondition', 'You are attempting to leave');
      calls.push('leave');
      return ['the others count on it'];
    },
  });
  const errors: string[] = [];
  const logger = { info: () => {}, error: (_fields: object, message: string) => void errors.push(message) };
  const options = { node, clock, engineSocketPath: join(directory, 'no-engine.sock'), logger, version: '0.1.0' };
  const api = await createHttpApi(patience === undefined ? options : { ...options, patience });
  const socketPath = join(directory, 'run', 'swarmd.sock');
  await api.listen({ socketPath });
  t.teardown(async () => {
    await api.close();
    await log.close();
    await rm(directory, { recursive: true });
  });
  const change = (...changes: Change[]) => replica.submit(() => ({ guards: [], changes, result: undefined }));
  return { client: createClient(`unix://${socketPath}`), socketPath, api, replica, change, calls, errors, node, logs };
}

/** In the place of the audit log: says when an answer of the API is over, or its client gone. */
export class Endings extends AuditLog {
  #next: (() => void)[] = [];

  constructor() {
    super({ path: '/nonexistent', clock: new VirtualClock(), logger: { info: () => {}, error: () => {} } });
  }

  override follow(_request: http.IncomingMessage, response: http.ServerResponse): void {
    response.once('close', () => {
      for (const resolve of this.#next.splice(0)) resolve();
    });
  }

  /** Resolves at the next one. */
  next(): Promise<void> {
    return new Promise((resolve) => this.#next.push(resolve));
  }
}

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
}

/** A request as no client of ours would make it. */
export async function raw(socketPath: string, method: string, path: string, body?: string): Promise<Answer> {
  const request = http.request({ socketPath, method, path, agent: false });
  request.end(body);
  const [response]: http.IncomingMessage[] = await once(request, 'response');
  if (response === undefined) throw new Error('no response');
  // Once there is an answer, a server that hangs up is no failure.
  request.on('error', () => {});
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, text };
}

export function spec(name: string, rest: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    Name: name,
    TaskTemplate: { ContainerSpec: { Image: 'busybox:test' } },
    Mode: { Replicated: { Replicas: 0 } },
    ...rest,
  };
}

export const running: TaskStatus = { state: 'running', atMs: 1_700_000_000_000, message: 'started' };

export function task(id: string, serviceId: string, slot = 1): Change {
  const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
  return {
    type: 'task-create',
    task: { id, serviceId, specVersion: 1, slot, nodeId: SELF, desiredState: 'running', status: running, restarts },
  };
}

/** How a request fails: status, code and words. */
export async function refusal(run: Promise<unknown>): Promise<string> {
  return run.then(
    () => 'no refusal',
    (error: unknown) => (error instanceof ApiError ? `${error.status} ${error.code}: ${error.message}` : String(error)),
  );
}
