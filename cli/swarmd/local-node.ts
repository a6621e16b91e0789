import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { formatHostPort, type InitRequest, type JoinRequest, parseHostPort } from '@apiary/api/model';
import { type ClusterInit, certificateValidityMs } from '@apiary/manager/core';
import {
  createRootCa,
  issueCertificate,
  type LocalNode,
  type LocalNodeStatus,
  type Manager,
  type Replica,
  startManager,
} from '@apiary/manager/io';
import { ApiaryError, type Clock, messageOf, newId, type Rng } from '@apiary/std';
import {
  type Agent,
  CertificateRenewal,
  createKeyAndCsr,
  type Engine,
  enrol,
  type NodeIdentity,
  nodeIdentityOf,
  readCredentials,
  removeCredentials,
  renewAtAny,
  startAgent,
  writeCredentials,
} from '@apiary/worker/io';
import type { Logger } from 'pino';
import { localAddr, resolveAdvertiseAddr, resolveListenAddr } from './address.js';
import {
  markLeaving,
  type NodeFile,
  readLeavingFile,
  readNodeFile,
  removeLeavingFile,
  writeNodeFile,
} from './node-file.js';

export interface SwarmNodeOptions {
  dataRoot: string;
  engine: Engine;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** Something that must hold does not: the process cannot go on. */
  onFatal: (error: unknown) => void;
}

/** A node that belongs to a cluster. */
interface Membership {
  file: NodeFile;
  agent: Agent;
  manager: Manager | undefined;
  renewal: CertificateRenewal;
  /** Empty, or why this node cannot take part although it is a member. */
  error: string;
}

const NO_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const WORKER =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. " +
  'Please run this command on a manager node or promote the current node to a manager.';
const MEMBER =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';
const LAST_MANAGER =
  'You are attempting to leave the swarm on a node that is participating as a manager. ' +
  'Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message.';

/**
 * This host's place in a cluster: none, a worker's, or a manager's with a worker beside it. Puts the parts together
 * for each, and remembers on disk which it is: the node file is the last thing written by `init` and `join`, so that a
 * stop between leaves a node that is in no cluster; `leave` renames it first and removes it last, so that a stop
 * between leaves a node that goes on leaving.
 */
export class SwarmNode implements LocalNode {
  readonly #options: SwarmNodeOptions;
  #membership: Membership | undefined;
  /** What is being done to the membership: one thing at a time. */
  #underWay: { what: 'init' | 'join' | 'leave'; settled: Promise<unknown> } | undefined;
  #remembering: Promise<void> = Promise.resolve();

  constructor(options: SwarmNodeOptions) {
    this.#options = options;
  }

  /** Takes up the place that this node had when the daemon stopped. */
  async resume(): Promise<void> {
    const file = await readNodeFile(this.#options.dataRoot);
    if (file === undefined) return this.#resumeLeave();
    const identity = await readCredentials(this.#options.dataRoot);
    if (identity === undefined) {
      throw new ApiaryError(
        'failed-precondition',
        `${this.#options.dataRoot}/certificates is missing, but this node belongs to cluster ${file.clusterId}: ` +
          'restore it, or remove the data root to start afresh',
      );
    }
    const manager = file.role === 'manager' ? await this.#startManager(file, identity) : undefined;
    this.#membership = this.#member(file, identity, manager);
  }

  /** Goes on with a leave that was cut short, beside whatever else: until it is done, this node joins nothing. */
  async #resumeLeave(): Promise<void> {
    const { dataRoot, logger } = this.#options;
    const file = await readLeavingFile(dataRoot);
    if (file === undefined) return;
    logger.info({ clusterId: file.clusterId }, 'leaving a cluster: the leave was cut short');
    // Without an identity, its containers were removed already.
    const identity = await readCredentials(dataRoot);
    const agent =
      identity &&
      startAgent({
        ...this.#agentOptions(file),
        identity: () => identity,
        managers: () => [],
      });
    this.#exclusively('leave', () => this.#finishLeave(agent, undefined)).catch((error: unknown) =>
      logger.error({ err: error }, 'cannot leave the cluster: restart swarmd to try again'),
    );
  }

  /** Stops what runs in this process. Containers run on. A leave that is under way is finished at the next start. */
  async stop(): Promise<void> {
    if (this.#underWay?.what !== 'leave') await this.#underWay?.settled;
    const membership = this.#membership;
    this.#membership = undefined;
    await this.#remembering;
    await membership?.renewal.stop();
    await membership?.agent.stop();
    await membership?.manager?.close();
  }

  status(): LocalNodeStatus {
    if (this.#membership === undefined) {
      const state = this.#underWay === undefined ? 'inactive' : 'pending';
      return { nodeId: '', nodeAddr: '', state, controlAvailable: false, error: '', remoteManagers: [] };
    }
    const { file, manager, renewal } = this.#membership;
    const error = this.#membership.error || renewal.error;
    return {
      nodeId: file.nodeId,
      nodeAddr: file.advertiseAddr,
      state: error === '' ? 'active' : 'error',
      controlAvailable: manager !== undefined,
      error,
      remoteManagers: file.managers,
    };
  }

  replica(): Replica {
    const manager = this.#membership?.manager;
    if (manager === undefined) throw new ApiaryError('not-manager', this.#membership === undefined ? NO_SWARM : WORKER);
    return manager.replica;
  }

  init(request: InitRequest): Promise<string> {
    return this.#exclusively('init', async () => {
      this.#refuseMember();
      const { dataRoot, clock, rng } = this.#options;
      const advertise = resolveAdvertiseAddr(request.AdvertiseAddr);
      const listen = resolveListenAddr(request.ListenAddr);
      // A listen port of one's own is what others must call, unless the advertised address names another.
      const hasPort = /:\d+$/.test(request.AdvertiseAddr ?? '');
      const addr = formatHostPort({ host: advertise.host, port: hasPort ? advertise.port : listen.port });
      const nodeId = newId(rng);
      const clusterId = newId(rng);
      const rootCa = createRootCa(clock.now());
      const { keyPem, csrPem } = createKeyAndCsr();
      const order = { rootCa, csrPem, nodeId, clusterId, role: 'manager' as const };
      const validityMs = certificateValidityMs(request.Spec ?? {});
      const chain = issueCertificate({ ...order, validityMs, nowMs: clock.now() });
      const identity = nodeIdentityOf(chain, keyPem, rootCa.certificatePem);
      const file: NodeFile = {
        nodeId,
        clusterId,
        role: 'manager',
        advertiseAddr: advertise.host,
        listenAddr: formatHostPort(listen),
        managers: [{ nodeId, addr }],
      };
      // What an init that was cut short left behind.
      await this.#removeLog();
      await writeCredentials(dataRoot, identity);
      const availability = availabilityOf(request.Availability);
      const manager = await this.#startManager(file, identity, {
        rootCa,
        ...(request.Spec && { spec: request.Spec }),
        availability,
      });
      try {
        await writeNodeFile(dataRoot, file);
      } catch (error) {
        await manager.close();
        throw error;
      }
      this.#membership = this.#member(file, identity, manager);
      return nodeId;
    });
  }

  join(request: JoinRequest): Promise<void> {
    return this.#exclusively('join', async () => {
      this.#refuseMember();
      const advertise = resolveAdvertiseAddr(request.AdvertiseAddr);
      const listen = resolveListenAddr(request.ListenAddr);
      const [remoteAddr] = request.RemoteAddrs ?? [];
      if (remoteAddr === undefined) {
        throw new ApiaryError('invalid-argument', 'at least 1 RemoteAddr is required to join');
      }
      const identity = await enrol({
        remoteAddr,
        joinToken: request.JoinToken ?? '',
        availability: request.Availability ?? '',
      });
      const addr = formatHostPort(parseHostPort(remoteAddr, 'remote address'));
      const file: NodeFile = {
        nodeId: identity.nodeId,
        clusterId: identity.clusterId,
        role: identity.role,
        advertiseAddr: advertise.host,
        listenAddr: formatHostPort(listen),
        managers: [{ nodeId: '', addr }],
      };
      await writeCredentials(this.#options.dataRoot, identity);
      await writeNodeFile(this.#options.dataRoot, file);
      this.#membership = this.#member(file, identity, undefined);
    });
  }

  leave(force: boolean): Promise<void> {
    return this.#exclusively('leave', async () => {
      const membership = this.#membership;
      if (membership === undefined) throw new ApiaryError('not-manager', 'This node is not part of a swarm');
      if (membership.manager !== undefined && !force) throw new ApiaryError('failed-precondition', LAST_MANAGER);
      // Whoever forgets the membership writes no node file any more.
      this.#membership = undefined;
      try {
        await this.#remembering;
        await markLeaving(this.#options.dataRoot);
      } catch (error) {
        this.#membership = membership;
        throw new ApiaryError('internal', `cannot leave: ${messageOf(error)}`, { cause: error });
      }
      await membership.renewal.stop();
      await this.#finishLeave(membership.agent, membership.manager);
    });
  }

  async #finishLeave(agent: Agent | undefined, manager: Manager | undefined): Promise<void> {
    await agent?.leave();
    await manager?.close();
    await removeCredentials(this.#options.dataRoot);
    await this.#removeLog();
    await removeLeavingFile(this.#options.dataRoot);
  }

  #refuseMember(): void {
    if (this.#membership !== undefined) throw new ApiaryError('not-manager', MEMBER);
  }

  #exclusively<R>(what: 'init' | 'join' | 'leave', work: () => Promise<R>): Promise<R> {
    const underWay = this.#underWay;
    if (underWay !== undefined) {
      const message = `swarm ${what}: a swarm ${underWay.what} is under way on this node: try again`;
      return Promise.reject(new ApiaryError('unavailable', message));
    }
    const working = work().finally(() => {
      this.#underWay = undefined;
    });
    this.#underWay = { what, settled: working.catch(() => undefined) };
    return working;
  }

  #startManager(
    file: NodeFile,
    identity: NodeIdentity,
    create?: Pick<ClusterInit, 'rootCa' | 'spec' | 'availability'>,
  ): Promise<Manager> {
    const { clock, rng, logger, onFatal } = this.#options;
    return startManager({
      directory: this.#logDirectory(),
      identity,
      listenAddr: file.listenAddr,
      create: create && {
        ...create,
        clusterId: file.clusterId,
        nodeId: file.nodeId,
        addr: file.advertiseAddr,
        managerAddr: file.managers[0]?.addr ?? '',
      },
      clock,
      rng,
      logger,
      onFatal,
    });
  }

  #member(file: NodeFile, identity: NodeIdentity, manager: Manager | undefined): Membership {
    const renewal = this.#renewalOf(identity, manager, () => managersToCall(membership));
    const agent = startAgent({
      ...this.#agentOptions(file),
      identity: () => renewal.identity,
      managers: () => managersToCall(membership),
      onManagers: (managers) => {
        membership.file = { ...membership.file, managers };
        this.#remember(membership.file);
      },
      onGone: (reason) => {
        membership.error = `${reason}; run "swarmctl leave", then join again`;
        void renewal.stop();
      },
    });
    const membership: Membership = { file, manager, agent, renewal, error: '' };
    return membership;
  }

  /** A manager signs for itself, even if it was off for longer than its certificate; a worker asks whoever answers. */
  #renewalOf(identity: NodeIdentity, manager: Manager | undefined, managers: () => string[]): CertificateRenewal {
    const { dataRoot, clock, rng, logger } = this.#options;
    return new CertificateRenewal({
      identity,
      dataRoot,
      renew: async (current, signal) => {
        if (manager === undefined) return renewAtAny(managers(), { identity: current, signal, rng });
        const { keyPem, csrPem } = createKeyAndCsr();
        return nodeIdentityOf(manager.issueOwnCertificate(csrPem), keyPem, current.rootPem);
      },
      onRenewed: (renewed) => manager?.rotate(renewed),
      clock,
      rng,
      logger: logger.child({ part: 'certificate' }),
    });
  }

  #agentOptions({ advertiseAddr }: NodeFile) {
    const { engine, clock, rng, logger } = this.#options;
    return { advertiseAddr, engine, clock, rng, logger: logger.child({ part: 'agent' }) };
  }

  /** What the managers said of where they are is kept for the next start; to lose it costs a detour, no more. */
  #remember(file: NodeFile): void {
    this.#remembering = this.#remembering
      .then(async () => {
        if (this.#membership?.file === file) await writeNodeFile(this.#options.dataRoot, file);
      })
      .catch((error: unknown) => this.#options.logger.warn({ err: error }, 'cannot write the node file'));
  }

  #logDirectory(): string {
    return join(this.#options.dataRoot, 'raft');
  }

  async #removeLog(): Promise<void> {
    await rm(this.#logDirectory(), { recursive: true, force: true });
  }
}

/** The managers, `HOST:PORT`; this node's own is called where it listens. */
function managersToCall({ file, manager }: Pick<Membership, 'file' | 'manager'>): string[] {
  if (manager === undefined) return file.managers.map(({ addr }) => addr);
  const own = formatHostPort(localAddr(parseHostPort(file.listenAddr, 'listen address')));
  return [own, ...file.managers.filter(({ nodeId }) => nodeId !== file.nodeId).map(({ addr }) => addr)];
}

function availabilityOf(word: string | undefined): ClusterInit['availability'] {
  if (word === undefined || word === '') return 'active';
  if (word === 'active' || word === 'pause' || word === 'drain') return word;
  throw new ApiaryError('invalid-argument', `invalid availability: "${word}"; expected active, pause or drain`);
}
