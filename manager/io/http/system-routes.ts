import { arch, hostname, release } from 'node:os';
import type { SwarmInfo } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { FastifyInstance } from 'fastify';
import { clusterObject, managersOf, nodeCounts } from '../../core/engine-api/index.js';
import type { Replica } from '../ports.js';
import { commonVersion, OLDEST_API_VERSION } from './api-version.js';
import type { ApiContext } from './context.js';
import { asClusterRequest, ReplyError } from './error-reply.js';
import { tlsInfoOf } from './trust-objects.js';

/** Docker's names of architectures, by Node's. */
const ARCHITECTURES: Record<string, string> = { x64: 'amd64', arm: 'arm', arm64: 'arm64', ppc64: 'ppc64le' };

/** `/_ping`, `/version` and `/info`: the engine's answers with what is ours put in, and our own when it is gone. */
export function systemRoutes(app: FastifyInstance, context: ApiContext): void {
  const { engine } = context;

  app.get('/_ping', async (_request, reply) => {
    const headers = await engine.ping();
    const apiVersion = headers?.['api-version'];
    reply.headers({
      'api-version': commonVersion(typeof apiVersion === 'string' ? apiVersion : undefined),
      'builder-version': headers?.['builder-version'] ?? '1',
      'cache-control': 'no-cache, no-store, must-revalidate',
      'docker-experimental': headers?.['docker-experimental'] ?? 'false',
      ostype: headers?.ostype ?? 'linux',
      pragma: 'no-cache',
      swarm: swarmHeader(context),
      'content-type': 'text/plain; charset=utf-8',
    });
    return reply.send('OK');
  });

  app.get('/version', async () => {
    const version = await engine.object('/version');
    const own = ownVersion(context.version);
    if (version === undefined) return own;
    const components = Array.isArray(version['Components']) ? version['Components'] : [];
    const apiVersion = typeof version['ApiVersion'] === 'string' ? version['ApiVersion'] : undefined;
    return {
      ...version,
      ApiVersion: commonVersion(apiVersion),
      MinAPIVersion: OLDEST_API_VERSION,
      Components: [...components, ...own.Components],
    };
  });

  app.get('/info', async () => {
    const [info, swarm] = await Promise.all([engine.object('/info'), swarmInfo(context)]);
    return { ...(info ?? ownInfo(context.version)), Swarm: swarm };
  });
}

/** Docker's header of a ping: `inactive`, `active/manager`, `active/worker`. */
function swarmHeader({ node }: ApiContext): string {
  const { state, controlAvailable } = node.status();
  return state === 'active' ? `${state}/${controlAvailable ? 'manager' : 'worker'}` : state;
}

function ownVersion(version: string) {
  const Arch = ARCHITECTURES[arch()] ?? arch();
  return {
    Platform: { Name: 'Apiary' },
    Components: [{ Name: 'Apiary', Version: version, Details: { Arch, Os: 'linux', NodeVersion: process.version } }],
    Version: version,
    ApiVersion: commonVersion(undefined),
    MinAPIVersion: OLDEST_API_VERSION,
    GitCommit: '',
    GoVersion: '',
    Os: 'linux',
    Arch,
    KernelVersion: release(),
  };
}

/** What is left of `/info` without an engine: who we are, and that it is gone. */
function ownInfo(version: string): Record<string, unknown> {
  return {
    ID: '',
    Name: hostname(),
    ServerVersion: version,
    OSType: 'linux',
    KernelVersion: release(),
    Containers: 0,
    ContainersRunning: 0,
    ContainersPaused: 0,
    ContainersStopped: 0,
    Images: 0,
    Driver: '',
    Warnings: ['WARNING: the local container engine does not answer: only what the cluster knows is shown'],
  };
}

async function swarmInfo(context: ApiContext): Promise<SwarmInfo> {
  const status = context.node.status();
  const { remoteManagers } = status;
  const info: SwarmInfo = {
    NodeID: status.nodeId,
    NodeAddr: status.nodeAddr,
    LocalNodeState: status.state,
    ControlAvailable: status.controlAvailable,
    Error: status.error,
    RemoteManagers:
      remoteManagers.length === 0 ? null : remoteManagers.map(({ nodeId, addr }) => ({ NodeID: nodeId, Addr: addr })),
  };
  if (!status.controlAvailable) return info;
  const replica = context.node.replica();
  // Docker's manager is none yet while it waits for the others to send it the state.
  if (replica.view.cluster() === undefined) return { ...info, ControlAvailable: false };
  const error = await leaderTrouble(replica);
  const { view } = replica;
  const cluster = view.cluster();
  const managers = managersOf(view).map(({ nodeId, addr }) => ({ NodeID: nodeId, Addr: addr }));
  return {
    ...info,
    Error: info.Error || error,
    RemoteManagers: managers.length === 0 ? info.RemoteManagers : managers,
    // Counted only when it is known that they are right, as Docker does.
    ...(error === '' ? nodeCounts(view) : {}),
    ...(cluster === undefined ? {} : { Cluster: clusterObject(cluster, tlsInfoOf(cluster)) }),
  };
}

/** Why this manager cannot say what is committed, in the words of a request that fails for it; empty when it can. */
async function leaderTrouble(replica: Replica): Promise<string> {
  try {
    await asClusterRequest(() => replica.barrier());
    return '';
  } catch (error) {
    if (error instanceof ApiaryError || error instanceof ReplyError) return error.message;
    throw error;
  }
}
