import type { LocalTask, NetworkState, TaskAttachment } from '@apiary/overlay-net/core';
import type { GatewayNetworkOptions, NamesPlace } from '@apiary/overlay-net/io';
import { ApiaryError, type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import type { AssignedNetworks } from '../../core/index.js';
import type { GatewaySystem, Names, Overlay } from './gateway-system.js';

/** How long a task that is about to start waits for the managers to tell of its networks. */
const PATIENCE_MS = 10_000;
/** How long until the name server's port is tried again that somebody else had. */
const RETRY_MS = 5_000;

export interface OverlayAttachmentsOptions {
  system: GatewaySystem;
  clock: Clock;
  rng: Rng;
  logger: GatewayNetworkOptions['logger'];
  /** Whether connections to VIPs lead somewhere: then names stand for them. */
  hasVips: () => boolean;
  /** How the networks are, and which tasks are on them here. @returns when the kernel knows */
  onState: (state: NetworkState) => Promise<void>;
  /** `wireguardKey` is another. */
  onKey: () => void;
}

/** A task whose container has its interface on the gateway network, or is getting it. */
interface Attached {
  pid: number;
  gatewayAddress: string;
  /** Inode of its network namespace. */
  namespace: number;
  namespaceCookie: bigint | undefined;
  /** Of its own; undefined for one that an earlier process attached: the managers know. */
  nameservers: readonly string[] | undefined;
  attachments: readonly TaskAttachment[];
}

/** What tasks have beside the gateway network: interfaces on overlay networks, and somebody who knows names. */
export class OverlayAttachments {
  readonly #options: OverlayAttachmentsOptions;
  readonly #tasks = new Map<string, Attached>();
  readonly #waiting = new Set<() => void>();
  #state: AssignedNetworks | undefined;
  #overlay: Overlay | undefined;
  #names: Names | undefined;
  /** Of containers that are no tasks; undefined until they are known. */
  #guests: ReadonlyMap<string, LocalTask> | undefined = new Map();
  #patience: Timer | undefined;
  #isOver = false;

  constructor(options: OverlayAttachmentsOptions) {
    this.#options = options;
  }

  get wireguardKey(): string {
    return this.#overlay?.wireguardKey ?? '';
  }

  /** There may be containers that are no tasks: nothing is told until they are known, for some time at most. */
  expectGuests(): void {
    this.#guests = undefined;
    this.#patience = this.#options.clock.after(PATIENCE_MS, () => this.setGuests(new Map()));
  }

  /** Containers that are no tasks, and have their interfaces. */
  setGuests(guests: ReadonlyMap<string, LocalTask>): void {
    this.#patience?.cancel();
    this.#guests = guests;
    this.#tellAndWake();
  }

  /** As `OverlayNetwork.offer`, once the managers have told of the network. */
  async offer(attachment: TaskAttachment, link: string, taken: () => void): Promise<void> {
    await this.#network(attachment.networkId);
    await (await this.#toldOverlay()).offer(attachment, link, taken);
  }

  async retract(attachment: TaskAttachment): Promise<void> {
    await this.#overlay?.retract(attachment);
  }

  /** As `NameServer.answer`; nothing is answered while there is none. */
  answer(...question: Parameters<Names['answer']>): void {
    this.#names?.answer(...question);
  }

  /** @param place  where what tasks ask their host comes to */
  async open(place: NamesPlace): Promise<void> {
    const { system, clock, logger, onKey } = this.#options;
    this.#overlay = await system.openOverlay({ clock, logger, onKey });
    onKey();
    this.#tellAndWake();
    for (const [taskId, { pid }] of this.#tasks) this.#lookAfter(taskId, pid);
    await this.#listen(place);
  }

  /** What the managers know of the cluster's networks. */
  apply(state: AssignedNetworks): void {
    this.#state = state;
    this.#tellAndWake();
  }

  /**
   * Whether a task is on such networks alone as have no way out.
   *
   * @throws ApiaryError `unavailable` when the managers have not told of one of them in time
   */
  async isConfined(attachments: readonly TaskAttachment[]): Promise<boolean> {
    const networks = await Promise.all(attachments.map(({ networkId }) => this.#network(networkId)));
    return networks.length > 0 && networks.every(({ internal }) => internal);
  }

  /** Gives a namespace, that of a process, its interfaces, and its task the names of its networks. */
  async attach(taskId: string, task: Attached): Promise<void> {
    for (const { networkId } of task.attachments) await this.#network(networkId);
    if (task.attachments.length > 0) {
      await (await this.#toldOverlay()).attach(taskId, { pid: task.pid }, task.attachments);
    }
    await this.#know(taskId, task);
  }

  /** A container runs that an earlier process gave its interfaces. */
  found(taskId: string, task: Attached): void {
    if (this.#tasks.has(taskId)) return;
    void this.#know(taskId, task);
    this.#lookAfter(taskId, task.pid);
  }

  /** The task's container has ended. */
  forget(taskId: string): void {
    const task = this.#tasks.get(taskId);
    if (task === undefined) return;
    this.#tasks.delete(taskId);
    this.#overlay?.forget(taskId);
    this.#names?.forget(task.gatewayAddress);
    void this.#tell();
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#patience?.cancel();
    for (const wake of this.#waiting) wake();
    await this.#names?.close();
    await this.#overlay?.close();
    this.#names = undefined;
    this.#overlay = undefined;
  }

  async #listen(place: NamesPlace): Promise<void> {
    const { system, clock, rng, logger } = this.#options;
    try {
      this.#names = await system.openNames({
        ...place,
        clock,
        rng,
        logger,
        upstream: () => system.resolvers(),
      });
      void this.#tell();
    } catch (error) {
      logger.warn(
        { reason: messageOf(error) },
        `tasks cannot ask for names: no name server on ${place.address}, port 53`,
      );
      clock.after(RETRY_MS, () => {
        if (!this.#isOver) void this.#listen(place);
      });
    }
  }

  #lookAfter(taskId: string, pid: number): void {
    this.#overlay?.found(taskId, { pid }).catch((error: unknown) => {
      this.#options.logger.warn({ task: taskId, reason: messageOf(error) }, 'cannot look after interfaces of a task');
    });
  }

  async #know(taskId: string, task: Attached): Promise<void> {
    this.#tasks.set(taskId, task);
    await this.#tell();
  }

  /** Tells those who make it so how the networks are, and which tasks are on them here. */
  async #tell(): Promise<void> {
    const state = this.#state;
    if (state === undefined || this.#guests === undefined) return;
    const tasks = new Map<string, LocalTask>(this.#guests);
    for (const [taskId, { nameservers, attachments, ...attached }] of this.#tasks) {
      const assigned = state.tasks.get(taskId);
      if (assigned === undefined) continue;
      tasks.set(taskId, {
        ...assigned,
        nameservers: nameservers ?? assigned.nameservers ?? [],
        attachments,
        gatewayAddress: attached.gatewayAddress,
        namespace: attached.namespace,
        namespacePath: `/proc/${attached.pid}/ns/net`,
        ...(attached.namespaceCookie !== undefined && { namespaceCookie: attached.namespaceCookie }),
      });
    }
    this.#overlay?.apply({ ...state, tasks });
    this.#names?.apply({ ...state, tasks }, { hasVips: this.#options.hasVips() });
    for (const { gatewayAddress, attachments, nameservers = [] } of tasks.values()) {
      if (gatewayAddress !== '') this.#names?.know(gatewayAddress, { attachments, nameservers });
    }
    await this.#options.onState({ ...state, tasks });
  }

  /** Who waits for what there is finds it made, or being made. */
  #tellAndWake(): void {
    void this.#tell();
    for (const wake of this.#waiting) wake();
  }

  /** It is told nothing before all who were on networks are known. */
  #toldOverlay(): Promise<Overlay> {
    return this.#told(() => this.#guests && this.#overlay, 'this host has no overlay networks');
  }

  #network(networkId: string): Promise<{ internal: boolean }> {
    return this.#told(
      (state) => state.networks.get(networkId),
      `network ${networkId}: the managers have not told this node of it`,
    );
  }

  /** What the managers have told, or tell within some time. */
  async #told<What>(find: (state: AssignedNetworks) => What | undefined, why: string): Promise<What> {
    const found = this.#state && find(this.#state);
    if (found !== undefined) return found;
    return await new Promise<What>((resolve, reject) => {
      const end = () => {
        this.#waiting.delete(look);
        timer.cancel();
      };
      const look = () => {
        const news = this.#state && find(this.#state);
        if (news === undefined && !this.#isOver) return;
        end();
        if (news !== undefined) resolve(news);
        else reject(new ApiaryError('unavailable', 'this node is stopping'));
      };
      const timer = this.#options.clock.after(PATIENCE_MS, () => {
        end();
        reject(new ApiaryError('failed-precondition', why));
      });
      this.#waiting.add(look);
    });
  }
}
