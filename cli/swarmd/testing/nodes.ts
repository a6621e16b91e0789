import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatJoinToken } from '@apiary/api/model';
import { updateNode } from '@apiary/manager/core';
import { type Replica, rootDigestOfPem } from '@apiary/manager/io';
import { ApiaryError } from '@apiary/std';
import { SystemClock, SystemRng } from '@apiary/std/io';
import type { Engine, HostDescription } from '@apiary/worker/io';
import { pino } from 'pino';
import type { Test } from 'tap';
import { SwarmNode } from '../local-node.js';
import type { SwarmNodeOptions } from '../swarm-node-options.js';

const HOST: HostDescription = {
  Hostname: 'h1',
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 2e9, MemoryBytes: 1e9 },
  Engine: { EngineVersion: '1', Plugins: [] },
};

export type Containers = Map<string, { nodeId: string; state: 'running' | 'exited' }>;

/** An engine that has `containers`, and can do no more than stop and remove them. */
export function engineWith(containers: Containers): Engine {
  const seen = (id: string) => {
    const container = containers.get(id);
    if (container === undefined) return undefined;
    return { id, taskId: `task-of-${id}`, pid: 0, exitCode: 0, oomKilled: false, error: '', ports: [], ...container };
  };
  const never = async () => {
    throw new ApiaryError('unimplemented', 'not asked for in these tests');
  };
  return {
    containerRoot: { uid: 0, gid: 0 },
    ping: async () => {},
    describe: async () => HOST,
    adopt: async () => [...containers.keys()].flatMap((id) => seen(id) ?? []),
    inspect: async (id) => seen(id),
    stop: async (id) => {
      const container = containers.get(id);
      if (container !== undefined) container.state = 'exited';
    },
    remove: async (id) => void containers.delete(id),
    watch: async () => ({ close: () => {} }),
    async *logs() {},
    pull: never,
    create: never,
    start: never,
  };
}

/** A host of a test's: what outlives the daemons that run on it, one after the other. */
export interface TestHost {
  readonly dataRoot: string;
  readonly options: SwarmNodeOptions;
  /** The daemon that runs, or ran last. */
  readonly node: SwarmNode;
  /** Where its manager is called. */
  readonly addr: string;
  /** Ends the daemon, if one runs. */
  stop(): Promise<void>;
  /** Starts another daemon, which takes up what the last one left. */
  start(): Promise<SwarmNode>;
  /** What `init` and `join` are to be asked with. */
  readonly addresses: { AdvertiseAddr: string; ListenAddr: string };
}

export async function testHost(t: Test, engine: Engine = engineWith(new Map())): Promise<TestHost> {
  const dataRoot = mkdtempSync(join(tmpdir(), 'swarm-node-'));
  const addr = `127.0.0.1:${await freePort()}`;
  const options: SwarmNodeOptions = {
    dataRoot,
    engine,
    clock: new SystemClock(),
    rng: new SystemRng(),
    logger: pino({ level: process.env['TEST_LOG'] ?? 'silent' }, pino.destination({ dest: 2, sync: true })),
    onFatal: (error) => t.error(error),
  };
  const newNode = () => new SwarmNode(options);
  let node = newNode();
  let runs = true;
  const stop = async () => {
    if (runs) await node.stop();
    runs = false;
  };
  t.teardown(async () => {
    await stop();
    rmSync(dataRoot, { recursive: true });
  });
  return {
    dataRoot,
    options,
    get node() {
      return node;
    },
    addr,
    stop,
    start: async () => {
      await stop();
      node = newNode();
      runs = true;
      await node.resume();
      return node;
    },
    addresses: { AdvertiseAddr: '127.0.0.1', ListenAddr: addr },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** The request that joins `to`'s cluster as `role`. */
export function joinRequest(host: TestHost, to: TestHost, role: 'worker' | 'manager') {
  const cluster = to.node.replica().view.cluster();
  if (cluster === undefined) throw new Error('no cluster');
  const rootDigest = rootDigestOfPem(cluster.rootCa.certificatePem);
  const JoinToken = formatJoinToken({ rootDigest, secret: cluster.joinSecrets[role] });
  return { ...host.addresses, RemoteAddrs: [to.addr], JoinToken };
}

/** Promotes or demotes a node, as `swarmctl node promote` and `demote` do. */
export function setRole(replica: Replica, id: string, Role: 'worker' | 'manager', force = false): Promise<string> {
  return replica.submit((view) => {
    const node = view.node(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return updateNode(view, {
      id,
      version: node.meta.version,
      spec: { Availability: 'active', ...node.spec, Role },
      force,
    });
  });
}

const LOOK_MS = 20;
const PATIENCE_MS = 30_000;

/** Resolves once `condition` holds; what it throws meanwhile counts as not yet. */
export function until(what: string, condition: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    let last: unknown;
    const timer = setInterval(() => {
      try {
        if (condition()) {
          clearInterval(timer);
          resolve();
          return;
        }
        last = undefined;
      } catch (error) {
        last = error;
      }
      if (performance.now() - startMs < PATIENCE_MS) return;
      clearInterval(timer);
      reject(new Error(`waited too long for: ${what}`, { cause: last }));
    }, LOOK_MS);
  });
}
