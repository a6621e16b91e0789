import { createKeyAndCsr } from '@apiary/api/client';
import type { ServiceSpec } from '@apiary/api/model';
import { createNetwork, createService, removeService, updateCluster } from '@apiary/manager/core';
import { createRootCa, type Manager, nextRoot, type RootCa, startManager } from '@apiary/manager/io';
import { SystemClock, SystemRng } from '@apiary/std/io';
import { pino } from 'pino';

export interface ManagerSettings {
  directory: string;
  clusterId: string;
  rootCa: RootCa;
  identity: {
    nodeId: string;
    clusterId: string;
    role: 'manager';
    certificateChainPem: string;
    keyPem: string;
    rootPem: string;
  };
  address: string;
  /** Ids of the nodes that will have sessions. */
  nodes: string[];
}

export type ManagerQuestion =
  /** Makes so many services of so many replicas each, one after the other, and waits until all of them run. */
  | { type: 'deploy'; services: number; replicas: number; prefix?: string }
  /** Makes one service of one replica, waits until it runs, removes it again; so many times. */
  | { type: 'one-by-one'; times: number; network?: string }
  /** Makes a network of that name, and a service with a task on it on every node. */
  | { type: 'network-everywhere'; name: string }
  /** Changes the root of the cluster, and waits until the old one is forgotten. */
  | { type: 'rotate' }
  | { type: 'usage' }
  /** What is in memory once the log is cut back to its newest snapshot. */
  | { type: 'memory' };

export type ManagerAnswer =
  | { type: 'ready' }
  | { type: 'deployed'; seconds: number; acceptedSeconds: number }
  | { type: 'network-everywhere' }
  /** Milliseconds from the request to the task running, each. */
  | { type: 'one-by-one'; milliseconds: number[] }
  /** The tasks that ran before and were touched, and the nodes that were not ready at some time. */
  | { type: 'rotated'; seconds: number; lostTasks: number; lostNodes: number }
  | { type: 'usage'; cpuSeconds: number; residentBytes: number }
  | { type: 'memory'; bytes: number };

const RESERVED = { NanoCPUs: 1e7, MemoryBytes: 2 ** 22 };

/** A manager in a process of its own, with a durable log, which answers questions about itself. */
export function runMeasuredManager(): void {
  process.once('message', async (settings: ManagerSettings) => {
    const manager = await start(settings);
    process.on('message', async (question: ManagerQuestion) => {
      const answer = await answerTo(manager, question);
      process.send?.(answer);
    });
    process.send?.({ type: 'ready' } satisfies ManagerAnswer);
  });
  process.on('disconnect', () => process.exit());
}

async function start({ directory, clusterId, rootCa, identity, address, nodes }: ManagerSettings): Promise<Manager> {
  const manager = await startManager({
    directory,
    identity,
    start: 'bootstrap',
    listenAddr: address,
    managerAddr: address,
    create: {
      clusterId,
      nodeId: identity.nodeId,
      rootCa,
      availability: 'drain',
      addr: '127.0.0.1',
      managerAddr: address,
    },
    clock: new SystemClock(),
    rng: new SystemRng(),
    logger: pino({ level: process.env['BENCH_LOG'] ?? 'error' }),
    onFatal: (error) => {
      throw error;
    },
  });
  const status = { state: 'unknown' as const, message: '', addr: '' };
  const spec = { Labels: {}, Role: 'worker' as const, Availability: 'active' as const };
  await manager.replica.submit(() => ({
    guards: [],
    changes: nodes.map((id) => ({ type: 'node-create', node: { id, spec, role: 'worker', status } })),
    result: undefined,
  }));
  return manager;
}

async function answerTo(manager: Manager, question: ManagerQuestion): Promise<ManagerAnswer> {
  switch (question.type) {
    case 'deploy':
      return deploy(manager, question);
    case 'one-by-one':
      return oneByOne(manager, question.times, question.network);
    case 'network-everywhere':
      return networkEverywhere(manager, question.name);
    case 'rotate':
      return rotate(manager);
    case 'usage': {
      const { user, system } = process.cpuUsage();
      const { rss } = process.memoryUsage();
      return { type: 'usage', cpuSeconds: (user + system) / 1e6, residentBytes: rss };
    }
    case 'memory': {
      // Another key begins with a snapshot.
      await manager.rotateLogKey();
      // What is outside of the heap goes once those that held it have been collected.
      globalThis.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 300));
      globalThis.gc?.();
      const { heapUsed, external } = process.memoryUsage();
      return { type: 'memory', bytes: heapUsed + external };
    }
  }
}

async function deploy(
  { replica }: Manager,
  { services, replicas, prefix = 'service' }: { services: number; replicas: number; prefix?: string },
): Promise<ManagerAnswer> {
  const running = new Set<string>();
  const isOver = new Promise<void>((resolve) => {
    const unsubscribe = replica.subscribe(({ tasks }) => {
      for (const id of tasks) if (replica.view.task(id)?.status.state === 'running') running.add(id);
      if (running.size < services * replicas) return;
      unsubscribe();
      resolve();
    });
  });
  const startMs = performance.now();
  for (let i = 0; i < services; i++) {
    await replica.submit((view, { rng }) => createService(view, specOf(`${prefix}-${i}`, replicas), rng));
  }
  const acceptedSeconds = (performance.now() - startMs) / 1000;
  await isOver;
  return { type: 'deployed', seconds: (performance.now() - startMs) / 1000, acceptedSeconds };
}

/** Resolves when it holds of what is committed. */
function until(replica: Manager['replica'], holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (!holds()) return;
      unsubscribe();
      resolve();
    };
    const unsubscribe = replica.subscribe(look);
    look();
  });
}

async function oneByOne({ replica }: Manager, times: number, network?: string): Promise<ManagerAnswer> {
  const milliseconds: number[] = [];
  for (let i = 0; i < times; i++) {
    const startMs = performance.now();
    const spec = specOf(`one-${i}`, 1, network);
    const id = await replica.submit((view, { rng }) => createService(view, spec, rng));
    await until(replica, () => replica.view.tasksOfService(id)[0]?.status.state === 'running');
    milliseconds.push(performance.now() - startMs);
    await replica.submit((view) => removeService(view, id));
    await until(replica, () => replica.view.tasksOfService(id).length === 0);
  }
  return { type: 'one-by-one', milliseconds };
}

async function rotate(manager: Manager): Promise<ManagerAnswer> {
  const { replica } = manager;
  const { view } = replica;
  const running = view.tasks().filter(({ status }) => status.state === 'running');
  const lostNodes = new Set<string>();
  const lostTasks = new Set<string>();
  const lives = new Map(running.map(({ id, status }) => [id, JSON.stringify(status.container)]));
  let isShown = false;
  const isOver = new Promise<void>((resolve) => {
    const unsubscribe = replica.subscribe(({ tasks, nodes }) => {
      for (const id of nodes) if (view.node(id)?.status.state !== 'ready') lostNodes.add(id);
      for (const id of tasks) {
        const { status } = view.task(id) ?? {};
        if (status?.state !== 'running' || JSON.stringify(status.container) !== lives.get(id)) lostTasks.add(id);
      }
      const rotation = view.cluster()?.rootRotation;
      if (rotation !== undefined && !isShown) {
        isShown = true;
        void showNewCertificate(manager);
      }
      if (rotation !== undefined || !isShown) return;
      unsubscribe();
      resolve();
    });
  });
  const startMs = performance.now();
  await replica.submit((state, { rng, nowMs }) => {
    const cluster = state.cluster();
    if (cluster === undefined) throw new Error('no cluster');
    const { CAConfig = {} } = cluster.spec;
    const spec = { ...cluster.spec, CAConfig: { ...CAConfig, ForceRotate: (CAConfig.ForceRotate ?? 0) + 1 } };
    const turned = { rotateWorkerToken: false, rotateManagerToken: false, rotateUnlockKey: false };
    const newRoot = (current: Parameters<typeof nextRoot>[0]) => nextRoot(current, createRootCa(nowMs), nowMs);
    return updateCluster(state, { version: cluster.meta.version, spec, ...turned, newRoot }, rng);
  });
  await isOver;
  const seconds = (performance.now() - startMs) / 1000;
  return { type: 'rotated', seconds, lostTasks: lostTasks.size, lostNodes: lostNodes.size };
}

/** What swarmd does for its own manager. */
async function showNewCertificate(manager: Manager): Promise<void> {
  const { keyPem, csrPem } = createKeyAndCsr();
  const { certificateChainPem, trustPem } = await manager.issueOwnCertificate(csrPem);
  manager.rotate({ certificateChainPem, keyPem, rootPem: trustPem });
}

async function networkEverywhere({ replica }: Manager, name: string): Promise<ManagerAnswer> {
  await replica.submit((view, { rng }) => createNetwork(view, { Name: name, Driver: 'overlay' }, rng));
  const spec: ServiceSpec = { ...specOf('everywhere', 1, name), Mode: { Global: {} } };
  const id = await replica.submit((view, { rng }) => createService(view, spec, rng));
  const nodes = replica.view.nodes().filter(({ spec }) => spec.Availability === 'active').length;
  const running = () => replica.view.tasksOfService(id).filter(({ status }) => status.state === 'running').length;
  await until(replica, () => running() === nodes);
  return { type: 'network-everywhere' };
}

function specOf(Name: string, replicas: number, network?: string): ServiceSpec {
  return {
    Name,
    TaskTemplate: {
      ContainerSpec: { Image: 'app:1' },
      Resources: { Reservations: RESERVED },
      Networks: network === undefined ? [] : [{ Target: network }],
    },
    Mode: { Replicated: { Replicas: replicas } },
  };
}
