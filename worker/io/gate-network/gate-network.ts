import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { AttachmentsReport } from '@apiary/api/rpc';
import {
  AddressPool,
  type DnsWishes,
  type GatewaySubnet,
  hostsFile,
  readGatewaySubnet,
  resolvConf,
  type TaskAttachment,
} from '@apiary/overlay-net/core';
import { ApiaryError, type Clock, messageOf, type Rng } from '@apiary/std';
import type { Logger } from 'pino';
import {
  type AssignedNetworks,
  type ContainerConfig,
  type EngineContainer,
  type GatewayFile,
  type TaskPort,
  withGateway,
} from '../../core/index.js';
import { Guests, type GuestsOptions } from '../attachable/guests.js';
import type { TaskNetwork } from '../task-network.js';
import { Entrances } from './entrances.js';
import { type Gateway, type GatewaySystem, LINUX } from './gateway-system.js';
import { OverlayAttachments } from './overlay-attachments.js';
import { TaskFiles } from './task-files.js';

export interface GateNetworkOptions {
  /** Of its own, for as long as the machine is up: what is in there is mounted into containers. */
  directory: string;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** `trouble` is no longer empty, or `wireguardKey`, `ipv6Addresses` or `attachments` another. */
  onTrouble: () => void;
  system?: GatewaySystem;
  /** For containers that are no tasks; without it, they cannot be on networks of the cluster. */
  attachable?: Pick<GuestsOptions, 'engine' | 'pluginSocket'>;
}

const NO_GUESTS: AttachmentsReport = { attachments: [], isComplete: true };

/** A task whose container is for the gateway network. */
interface Lease {
  readonly address: string;
  /** Of IPv6; empty: it has none. */
  readonly ipv6Address: string;
  /** What its name behind the gate leads to. */
  readonly target: string;
  /** The overlay networks that its container was created for. */
  readonly networks: readonly TaskAttachment[];
  /** Resolvers of its own; undefined: an earlier process knew. */
  readonly nameservers?: readonly string[];
  /** Of this host, that lead to it. */
  readonly ports: readonly TaskPort[];
  /** Something of it is published: who connects may be anywhere. Of one that an earlier process made, known when it starts. */
  isPublished?: boolean;
  /** Its container runs, or is about to: nobody else may have the address. */
  isHeld: boolean;
  /** Who went through the gate since the container was last to start. */
  seen: 'nobody' | 'engine' | 'runtime';
  /** Of the last start: which namespace has got the interface, or is getting it. */
  attached?: { namespace: number; done: Promise<void> };
  failure?: string;
}

export class GateNetwork implements TaskNetwork {
  readonly #options: GateNetworkOptions;
  readonly #system: GatewaySystem;
  readonly #files: TaskFiles;
  readonly #gatePoint: string;
  readonly #overlays: OverlayAttachments;
  readonly #entrances: Entrances;
  readonly #guests: Guests | undefined;
  readonly #leases = new Map<string, Lease>();
  #subnet: GatewaySubnet | undefined;
  #pool: AddressPool | undefined;
  #gate: Promise<{ close(): void } | undefined>;
  #gateway: Gateway | undefined;
  #trouble = '';
  #isOver = false;
  /** Settled once it is known whether there is a gateway network. */
  readonly #ready: Promise<void>;
  #onReady = () => {};
  #opening: Promise<void> = Promise.resolve();

  constructor(options: GateNetworkOptions) {
    this.#options = options;
    this.#system = options.system ?? LINUX;
    this.#files = new TaskFiles(join(options.directory, 'tasks'));
    this.#gatePoint = join(options.directory, 'gate');
    const { clock, rng, logger } = options;
    const system = this.#system;
    this.#entrances = new Entrances({ system, directory: options.directory, clock, logger });
    this.#overlays = new OverlayAttachments({
      system,
      clock,
      rng,
      logger,
      onKey: () => options.onTrouble(),
      hasVips: () => this.#entrances.hasVips,
      onState: (state) => this.#entrances.apply(state),
    });
    const { attachable } = options;
    if (attachable !== undefined) {
      this.#guests = new Guests({
        ...options,
        ...attachable,
        system,
        overlays: this.#overlays,
        onChange: options.onTrouble,
      });
    }
    this.#ready = new Promise((resolve) => {
      this.#onReady = resolve;
    });
    this.#gate = this.#openGate();
  }

  get trouble(): string {
    return this.#trouble;
  }

  get vipTrouble(): string {
    return this.#entrances.vipTrouble;
  }

  get wireguardKey(): string {
    return this.#overlays.wireguardKey;
  }

  get ipv6Addresses(): string {
    return this.#gateway?.ipv6Addresses ?? '';
  }

  get attachments(): AttachmentsReport {
    return this.#guests?.report ?? NO_GUESTS;
  }

  use(text: string): void {
    if (this.#subnet !== undefined || this.#isOver || this.#trouble !== '') return;
    try {
      if (text === '')
        throw new ApiaryError('failed-precondition', 'the managers have no gateway subnet for this node');
      this.#subnet = readGatewaySubnet(text);
    } catch (error) {
      this.#giveUp(messageOf(error));
      return;
    }
    this.#pool = new AddressPool(this.#subnet);
    for (const [taskId, lease] of this.#leases) if (lease.isHeld) this.#hold(taskId, lease);
    this.#opening = this.#openGateway(text);
  }

  apply(state: AssignedNetworks): void {
    this.#overlays.apply(state);
    this.#guests?.apply(state.attachments);
  }

  adopt(containers: readonly EngineContainer[], isKnown: (taskId: string) => boolean): void {
    for (const container of containers) this.observe(container);
    this.#gateway?.look();
    this.#guests?.look();
    this.#entrances.complete();
    const found = new Set(containers.map(({ taskId }) => taskId));
    for (const taskId of this.#leases.keys()) if (!found.has(taskId) && !isKnown(taskId)) this.forget(taskId);
    void this.#files.list().then((taskIds) => {
      // Those of tasks that were removed while nobody looked.
      for (const taskId of taskIds) if (!this.#leases.has(taskId) && !found.has(taskId)) this.#removeFiles(taskId);
    });
  }

  observe({
    taskId,
    gatewayAddress,
    gatewayIpv6Address: ipv6Address = '',
    networks = [],
    ports,
    state,
    pid,
  }: EngineContainer): void {
    if (gatewayAddress === undefined) return;
    let lease = this.#leases.get(taskId);
    // It is the engine's word that counts for one that was started before this process knew of it.
    if (lease === undefined || (lease.address !== gatewayAddress && lease.seen !== 'runtime')) {
      if (lease !== undefined) this.#release(taskId, lease);
      const target = this.#files.pathOf(taskId, 'hosts');
      lease = { address: gatewayAddress, ipv6Address, target, networks, ports, isHeld: false, seen: 'nobody' };
      this.#leases.set(taskId, lease);
    }
    if (state === 'exited') this.#release(taskId, lease);
    else this.#hold(taskId, lease);
    if (state !== 'running') return;
    this.#entrances.adopt(taskId, lease, lease.ports);
    if (lease.attached === undefined) void this.#find(taskId, lease, pid);
  }

  forget(taskId: string): void {
    const lease = this.#leases.get(taskId);
    if (lease === undefined) return;
    this.#release(taskId, lease);
    this.#leases.delete(taskId);
    this.#removeFiles(taskId);
  }

  async prepare(config: ContainerConfig): Promise<ContainerConfig> {
    const { taskId, gateway } = config;
    if (gateway === undefined) return config;
    await this.#ready;
    if (this.#trouble !== '' || this.#pool === undefined) {
      if (gateway.networks.length === 0) return config;
      throw new ApiaryError('failed-precondition', `this node cannot attach it to its networks: ${this.#trouble}`);
    }
    const [first = 'hosts'] = gateway.files;
    const address = this.#pool.take(taskId);
    const target = this.#files.pathOf(taskId, first);
    const { networks, dns, isPublished } = gateway;
    // Who is reached from elsewhere, or has IPv6 of its own, has it on the gateway network too.
    const hasIpv6 = isPublished || networks.some((each) => (each.ipv6Address ?? '') !== '');
    const ipv6Address = hasIpv6 ? (this.#gateway?.ipv6AddressOf(address) ?? '') : '';
    // Those without a number get one with which the container can be labelled; the others are claimed when it starts.
    const open = gateway.ports.filter(({ publishedPort }) => publishedPort === 0);
    const found = await this.#entrances.claim(taskId, { address, ipv6Address }, open);
    const ports = gateway.ports.map((port) => (port.publishedPort === 0 ? (found.shift() ?? port) : port));
    const lease = { address, ipv6Address, target, networks, nameservers: dns.nameservers, ports, isPublished };
    this.#leases.set(taskId, { ...lease, isHeld: true, seen: 'nobody' });
    await this.#files.write(taskId, { hosts: '', resolvConf: '' });
    return withGateway(config, {
      address,
      ipv6Address,
      ports,
      gatePath: join(this.#gatePoint, taskId),
      pathOf: (file) => this.#files.pathOf(taskId, file),
    });
  }

  async start(
    config: ContainerConfig,
    containerId: string,
    start: () => Promise<void>,
  ): Promise<'started' | 'unreached'> {
    const { taskId } = config;
    const lease = this.#leases.get(taskId);
    if (lease === undefined) {
      await start();
      return 'started';
    }
    if (config.gateway !== undefined) lease.isPublished = config.gateway.isPublished;
    await this.#ready;
    if (this.#trouble !== '' || this.#gateway === undefined) return 'unreached';
    await this.#files.write(taskId, await this.#contents(config, containerId, lease));
    await this.#entrances.claim(taskId, lease, lease.ports);
    const gate = this.#gate;
    this.#awaitVisit(lease);
    try {
      await start();
    } catch (error) {
      this.#entrances.release(taskId);
      if (error instanceof ApiaryError && error.code === 'unavailable') throw error;
      if (lease.failure !== undefined) {
        throw new ApiaryError('failed-precondition', `attaching its network failed: ${lease.failure}`, {
          cause: error,
        });
      }
      // It asks for the path by its name, and not through the gate: what it sees there is something else.
      const path = join(this.#gatePoint, taskId);
      if (lease.seen !== 'nobody' || !messageOf(error).includes(path)) throw error;
      // There was none for a moment: the next start finds the one that took its place.
      if (this.#gate !== gate) throw error;
      this.#giveUp(`the engine does not see ${this.#gatePoint} as it is here`);
      return 'unreached';
    }
    // One that ran already was started by somebody else.
    if (lease.seen === 'runtime' || (await this.#gateway.isAttached(lease.address))) return 'started';
    this.#giveUp('the engine mounts the files of containers from outside of their network namespaces');
    return 'unreached';
  }

  async withdrawn(taskId: string, serviceId: string): Promise<void> {
    await this.#entrances.withdrawn(taskId, serviceId);
  }

  async putOut(): Promise<void> {
    await this.#guests?.remove();
  }

  async close(): Promise<void> {
    this.#isOver = true;
    const gate = await this.#gate;
    await this.#opening;
    gate?.close();
    await this.#guests?.close();
    await this.#overlays.close();
    await this.#entrances.close();
    await this.#gateway?.close();
    this.#gateway = undefined;
  }

  async remove(): Promise<void> {
    await this.close();
    try {
      await this.#entrances.remove();
      await this.#system.removeGateway();
      await rm(this.#options.directory, { recursive: true, force: true });
    } catch (error) {
      this.#options.logger.warn({ reason: messageOf(error) }, 'a part of the gateway network is left behind');
    }
  }

  async #openGate(): Promise<{ close(): void } | undefined> {
    const { directory, logger } = this.#options;
    try {
      // For root alone: whoever goes through the gate has an interface put into their namespace.
      await mkdir(directory, { recursive: true });
      await chmod(directory, 0o700);
      // Not before: whoever makes this is told of trouble once they have it.
      if (directory.includes(':')) throw new ApiaryError('failed-precondition', `${directory}: no path with a colon`);
      // Below one that was left mounted by a process that was killed, nothing can be made.
      await mkdir(this.#gatePoint).catch(() => {});
      return await this.#system.openGate({
        mountPoint: this.#gatePoint,
        resolve: (name, { pid }) => this.#resolve(name, pid),
        onLost: (error) => {
          if (this.#isOver) return;
          logger.warn({ reason: messageOf(error) }, 'the gate is lost: opening it anew');
          this.#gate = this.#openGate();
        },
      });
    } catch (error) {
      this.#giveUp(messageOf(error));
      return undefined;
    }
  }

  async #openGateway(subnet: string): Promise<void> {
    const { clock, logger, onTrouble } = this.#options;
    // Nothing is made on a host that cannot use it.
    if ((await this.#gate) === undefined || this.#isOver) return;
    try {
      this.#gateway = await this.#system.openGateway({ subnet, clock, logger, onIpv6Addresses: onTrouble });
      await this.#entrances.open(this.#gateway);
      if (this.vipTrouble !== '' || this.ipv6Addresses !== '') onTrouble();
      await this.#overlays.open(this.#gateway.names);
      this.#onReady();
    } catch (error) {
      this.#giveUp(messageOf(error));
    }
  }

  /** Who asks waits until this settles: the engine, before it starts a container, and the runtime inside of it. */
  async #resolve(taskId: string, pid: number): Promise<string | undefined> {
    const lease = this.#leases.get(taskId);
    if (lease === undefined) return undefined;
    const namespace = await this.#system.namespaceOf(pid);
    if (namespace === undefined) {
      if (lease.seen === 'nobody') lease.seen = 'engine';
      return lease.target;
    }
    try {
      await this.#attachOnce(taskId, lease, namespace, pid);
    } catch (error) {
      lease.failure = messageOf(error);
      this.#options.logger.warn({ task: taskId, reason: lease.failure }, 'cannot attach a task to the gateway network');
      throw error;
    }
    lease.seen = 'runtime';
    return lease.target;
  }

  /** The runtime asks for a path more than once. A later namespace may have the number of an earlier one. */
  async #attachOnce(taskId: string, lease: Lease, namespace: number, pid: number): Promise<void> {
    const gateway = this.#gateway;
    if (gateway === undefined) throw new ApiaryError('unavailable', 'the gateway network is not there yet');
    if (lease.attached?.namespace === namespace) {
      await lease.attached.done;
      if (await gateway.isAttached(lease.address)) return;
    }
    this.#pool?.claim(taskId, lease.address);
    lease.isHeld = true;
    const attached = { namespace, done: this.#attach(gateway, taskId, lease, namespace, pid) };
    lease.attached = attached;
    try {
      await attached.done;
    } catch (error) {
      if (lease.attached === attached) delete lease.attached;
      throw error;
    }
  }

  async #attach(gateway: Gateway, taskId: string, lease: Lease, namespace: number, pid: number): Promise<void> {
    const { address: gatewayAddress, nameservers, networks: attachments, isPublished = false } = lease;
    const isConfined = await this.#overlays.isConfined(attachments);
    // Answers to clients that came by what is published need a route; what it sends of its own is not let through.
    await gateway.attach({ pid }, gatewayAddress, {
      hasWayOut: !isConfined || isPublished,
      hasIpv6: attachments.some(({ ipv6Address = '' }) => ipv6Address !== ''),
      isReachedByIpv6: lease.ipv6Address !== '',
    });
    const namespaceCookie = await this.#system.cookieOf(pid);
    const attached = { pid, gatewayAddress, namespace, namespaceCookie, nameservers, attachments };
    await this.#overlays.attach(taskId, attached);
    if (!this.#isHeld(taskId, lease)) this.#overlays.forget(taskId);
  }

  /** Its container may have ended, and been removed, while something was done for it. */
  #isHeld(taskId: string, lease: Lease): boolean {
    return lease.isHeld && this.#leases.get(taskId) === lease;
  }

  /** A container runs that an earlier process attached. */
  async #find(taskId: string, lease: Lease, pid: number): Promise<void> {
    const { address, nameservers, networks } = lease;
    // It may have ended meanwhile.
    const namespace = await this.#system.namespaceOf(pid).catch(() => undefined);
    if (namespace === undefined) return;
    const namespaceCookie = await this.#system.cookieOf(pid);
    if (!this.#isHeld(taskId, lease)) return;
    const attached = { pid, gatewayAddress: address, namespace, namespaceCookie, nameservers, attachments: networks };
    this.#overlays.found(taskId, attached);
  }

  async #contents(
    { gateway: wish }: ContainerConfig,
    containerId: string,
    { address }: Lease,
  ): Promise<Partial<Record<GatewayFile, string>>> {
    if (wish === undefined) return {};
    const { networks, hostname, hosts: extra, dns } = wish;
    const gateway = this.#subnet?.gateway ?? '';
    // By its name it finds itself where others reach it.
    const own = networks.flatMap((network) => [network.address, network.ipv6Address ?? '']);
    const addresses = networks.length > 0 ? own.filter((each) => each !== '') : [address];
    return {
      hosts: hostsFile({ addresses, hostname: hostname || containerId.slice(0, 12), gateway, extra }),
      resolvConf: resolvConf(await TaskFiles.hostResolvConf(), networks.length > 0 ? throughHost(dns, gateway) : dns),
    };
  }

  #awaitVisit(lease: Lease): void {
    lease.seen = 'nobody';
    delete lease.failure;
  }

  #hold(taskId: string, lease: Lease): void {
    lease.isHeld = true;
    try {
      this.#pool?.claim(taskId, lease.address);
    } catch (error) {
      // A container of an earlier membership, or one that somebody started after its address had gone to another.
      this.#options.logger.warn(
        { task: taskId, reason: messageOf(error) },
        'a task has an address that is not its own',
      );
    }
  }

  #release(taskId: string, lease: Lease): void {
    lease.isHeld = false;
    delete lease.attached;
    this.#overlays.forget(taskId);
    this.#entrances.release(taskId);
    this.#pool?.release(taskId);
  }

  #removeFiles(taskId: string): void {
    this.#files.remove(taskId).catch((error: unknown) => {
      this.#options.logger.warn({ task: taskId, reason: messageOf(error) }, 'files of a task are left behind');
    });
  }

  #giveUp(reason: string): void {
    if (this.#trouble !== '' || this.#isOver) return;
    this.#trouble = reason;
    this.#options.logger.warn({ reason }, "tasks are put on the engine's own bridge network");
    this.#onReady();
    this.#options.onTrouble();
  }
}

/** A task on overlay networks asks its host, which asks its own resolvers for it. A name without a dot may be whole, as with Docker. */
function throughHost({ search, options }: DnsWishes, gateway: string): DnsWishes {
  const isSaid = options.some((option) => option.startsWith('ndots:'));
  return { search, nameservers: [gateway], options: isSaid ? options : [...options, 'ndots:0'] };
}
