import type { AttachmentsReport, HeldAttachment } from '@apiary/api/rpc';
import type { AssignedNetwork, TaskAttachment } from '@apiary/overlay-net/core';
import { hexadecimal } from '@apiary/overlay-net/core';
import { ApiaryError, type Clock, messageOf, newId, type Rng, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import type { AttachmentsMessage } from '../../core/index.js';
import { AddressTurns } from './address-turns.js';
import type { EngineNetwork, EngineNetworks } from './engine-networks.js';
import { NetworkMirror } from './network-mirror.js';
import type { Sandboxes } from './sandboxes.js';

/** How long a container that is about to start waits for the managers to give it an address: the engine waits for longer. */
const PATIENCE_MS = 10_000;
/** How often the engine is asked whether all is as it is known here. */
const LOOK_PERIOD_MS = 15_000;
/** How long after the engine could not say whose an endpoint is it is asked again. */
const NAME_RETRY_MS = 500;
/** One that the engine has not listed for so long is no more. */
const LOST_AFTER_MS = 30_000;

export interface AttachmentsOptions {
  engine: EngineNetworks;
  sandboxes: Sandboxes;
  /** Makes interfaces for others to use, as `OverlayNetwork` does. */
  ports: {
    offer(attachment: TaskAttachment, link: string, taken: () => void): Promise<void>;
    retract(attachment: TaskAttachment): Promise<void>;
  };
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** `report` is another. */
  onChange: () => void;
  /** All that were there before this process are known. */
  onAdopted: () => void;
}

interface Held extends HeldAttachment {
  endpointId: string;
  /** The file that stands for the container's network namespace. */
  namespace: string;
  /** The engine's id of the network. */
  engineNetwork: string;
  /** The engine is being asked whose it is, or was. */
  isIdentified: boolean;
  /** Since when the engine does not know of it. */
  missedSinceMs: number | undefined;
}

const LATE = 'its addresses were not asked for in one go: start it again';

const UNKNOWN = {
  hasIpv6: false,
  ipv6Address: '',
  endpointId: '',
  engineNetwork: '',
  namespace: '',
  isIdentified: false,
  missedSinceMs: undefined,
};

type Given = AttachmentsMessage['attachments'][number];

interface Waiting {
  resolve: (given: Given) => void;
  reject: (error: ApiaryError) => void;
}

/**
 * The containers of this node that are no tasks and are on networks of the cluster. The engine says what it needs through
 * its driver (`libnetwork-driver.ts`), the managers what there is: they are told all of it whenever it changes.
 */
export class Attachments {
  readonly #options: AttachmentsOptions;
  /** By attachment id. */
  readonly #held = new Map<string, Held>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #turns: AddressTurns<Held>;
  readonly #mirror: NetworkMirror;
  /** Of the managers: by network id. */
  #networks = new Map<string, AssignedNetwork>();
  #told: AttachmentsMessage['attachments'] = [];
  #isTold = false;
  /** Those who wait for that. */
  readonly #early: (() => void)[] = [];
  #isAdopted = false;
  #report: AttachmentsReport = { attachments: [], isComplete: false };
  /** Looking at the engine: once at a time, and again when it was asked for meanwhile. */
  #look: Promise<void> | undefined;
  #isLookDue = false;
  #timer: Timer | undefined;
  #isOver = false;

  constructor(options: AttachmentsOptions) {
    this.#turns = new AddressTurns(options.clock);
    this.#mirror = new NetworkMirror(options.engine, options.logger);
    this.#options = options;
  }

  /** What the managers are to hear. */
  get report(): AttachmentsReport {
    return this.#report;
  }

  /** What the managers say there is. */
  apply({ networks, attachments }: AttachmentsMessage): void {
    const before = [...this.#networks.keys()].join();
    this.#networks = new Map(networks.map((network) => [network.networkId, network]));
    this.#told = attachments;
    const isNews = !this.#isTold || before !== [...this.#networks.keys()].join();
    this.#isTold = true;
    for (const wake of this.#early.splice(0)) wake();
    for (const given of attachments) {
      const { attachmentId, error } = given;
      const waiting = this.#waiting.get(attachmentId);
      if (waiting !== undefined && error === '') {
        const asked = this.#held.get(attachmentId)?.ipv6Address ?? '';
        // Else it is what it had before it asked for another.
        if (asked === '' || asked === given.ipv6Address) waiting.resolve(given);
      } else if (waiting !== undefined) waiting.reject(new ApiaryError('failed-precondition', error));
      else if (error !== '') {
        this.#putOut(attachmentId, error).catch((failure: unknown) => {
          this.#options.logger.error({ reason: messageOf(failure) }, 'a container cannot be taken off its network');
        });
      }
    }
    if (isNews) this.look();
  }

  /** Looks at the engine, which is there: makes its networks those of the cluster, and finds who is on them. */
  look(): void {
    this.#isLookDue = true;
    if (!this.#isOver) this.#look ??= this.#lookAll();
  }

  /** No look is begun any more. */
  close(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    for (const wake of this.#early.splice(0)) wake();
    for (const { reject } of this.#waiting.values()) reject(new ApiaryError('unavailable', 'this node is stopping'));
  }

  /**
   * Takes those networks away from the engine that nobody is on, after what is under way: an engine that starts while their
   * driver is away waits for it, 15 s for each.
   */
  async removeUnused(): Promise<void> {
    const { engine } = this.#options;
    await this.#look;
    for (const { id, networkId } of await engine.list()) {
      if (networkId !== undefined && (await engine.endpoints(id))?.length === 0) await engine.remove(id);
    }
  }

  /** Takes the networks away from the engine, and whoever is on them from those. */
  async remove(): Promise<void> {
    const { engine } = this.#options;
    this.#isOver = true;
    this.#timer?.cancel();
    await this.#look;
    for (const { id, networkId } of await engine.list()) {
      if (networkId === undefined) continue;
      for (const { containerId } of (await engine.endpoints(id)) ?? []) await engine.disconnect(id, containerId);
      await engine.remove(id);
    }
  }

  /** As `network`, once the managers have told of any, which they may not have when this node has just started. */
  async toldNetwork(networkId: string): Promise<AssignedNetwork> {
    if (!this.#isTold && !this.#isOver) {
      await new Promise<void>((resolve) => {
        const timer = this.#options.clock.after(PATIENCE_MS, resolve);
        this.#early.push(() => {
          timer.cancel();
          resolve();
        });
      });
    }
    return this.network(networkId);
  }

  /** @throws ApiaryError `not-found` for one that is not attachable, or not known (yet) */
  network(networkId: string): AssignedNetwork {
    const network = this.#networks.get(networkId);
    if (network !== undefined) return network;
    throw new ApiaryError('not-found', `network ${networkId} of the cluster is not there, as far as this node knows`);
  }

  /**
   * An address for a container, cluster-wide; with `hasIpv6` its address of IPv6 is asked for next.
   *
   * @param asked  empty for any
   * @throws ApiaryError as the managers say; `unavailable` when none of them says anything
   */
  async request(networkId: string, asked: string, { hasIpv6 = false } = {}): Promise<string> {
    const { rng } = this.#options;
    const turn = hasIpv6 ? await this.#turns.begin(networkId) : undefined;
    const named = { attachmentId: newId(rng), networkId, containerId: '', containerName: '', aliases: [] };
    const held: Held = { ...named, ...UNKNOWN, address: asked, hasIpv6 };
    this.#held.set(held.attachmentId, held);
    try {
      await this.#ask(held);
    } catch (error) {
      turn?.end();
      throw error;
    }
    if (turn !== undefined) this.#turns.expectNext(turn, held);
    return held.address;
  }

  /**
   * The address of IPv6 of the container that has just asked for its other one.
   *
   * @param asked  empty for any; as `formatIp` writes it
   * @throws ApiaryError as `request`; `unavailable` when that was too long ago
   */
  async requestIpv6(networkId: string, asked: string): Promise<string> {
    const turn = this.#turns.of(networkId);
    const held = turn?.holder;
    if (turn === undefined || held === undefined) throw new ApiaryError('unavailable', LATE);
    try {
      if (asked !== '' && asked !== held.ipv6Address) {
        held.ipv6Address = asked;
        await this.#ask(held);
      }
      if (held.ipv6Address !== '') return held.ipv6Address;
      throw new ApiaryError('unavailable', 'the managers are of a version that gives containers no IPv6 address');
    } finally {
      turn.end();
    }
  }

  /** Has the managers say which addresses it has. @throws ApiaryError as `request`; then it is held no more */
  async #ask(held: Held): Promise<void> {
    const { clock } = this.#options;
    const { attachmentId: id } = held;
    const answered = new Promise<Given>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    const timer = clock.after(PATIENCE_MS, () => {
      const words = 'no manager of the cluster has given it an address: is there a leader?';
      this.#waiting.get(id)?.reject(new ApiaryError('unavailable', words));
    });
    this.#changed();
    try {
      const { address, ipv6Address } = await answered;
      held.address = address;
      held.ipv6Address = ipv6Address;
    } catch (error) {
      this.#held.delete(id);
      this.#changed();
      throw error;
    } finally {
      timer.cancel();
      this.#waiting.delete(id);
    }
  }

  /** The container has given its address back. */
  release(networkId: string, address: string): void {
    const held = this.#find((each) => each.networkId === networkId && each.address === address);
    if (held === undefined) return;
    const turn = this.#turns.of(networkId);
    if (turn?.holder === held) turn.end();
    this.#drop(held);
  }

  /** Makes the interface that goes with addresses. @param ipv6Address  empty for none */
  async offer(address: string, ipv6Address: string, endpointId: string): Promise<void> {
    const held = this.#find((each) => each.address === address);
    if (held === undefined) throw new ApiaryError('not-found', `address ${address} is no container's of this node`);
    if (held.ipv6Address !== ipv6Address) throw new ApiaryError('unavailable', LATE);
    held.endpointId = endpointId;
    await this.#options.ports.offer(held, linkOf(held), () => this.#taken(held));
  }

  async retract(endpointId: string): Promise<void> {
    const held = this.#find((each) => each.endpointId === endpointId);
    if (held !== undefined) await this.#options.ports.retract(held);
  }

  /**
   * The container is about to get the interface.
   *
   * @param engineNetwork  the engine's id of the network
   * @param sandboxKey     the file that will stand for the container's network namespace
   * @returns              the interface that was made, a link of this host
   */
  join(endpointId: string, engineNetwork: string, sandboxKey: string): { link: string; internal: boolean } {
    const held = this.#find((each) => each.endpointId === endpointId);
    if (held === undefined) throw new ApiaryError('not-found', `endpoint ${endpointId} is not known`);
    held.namespace = sandboxKey;
    held.engineNetwork = engineNetwork;
    return { link: linkOf(held), internal: this.network(held.networkId).internal };
  }

  leave(endpointId: string): void {
    const held = this.#find((each) => each.endpointId === endpointId);
    if (held === undefined) return;
    void this.#options.sandboxes.drop(held.namespace, held);
    held.namespace = '';
  }

  /** One of the engine's was removed; who did so may not have meant the cluster's. */
  networkDeleted(): void {
    setImmediate(() => this.look());
  }

  /** The engine has put the interface into the container's namespace, and brought it up. */
  #taken(held: Held): void {
    if (held.namespace === '' || !this.#held.has(held.attachmentId)) return;
    void this.#options.sandboxes.put(held.namespace, held);
    // Not before: the engine does not list it while it waits for our answers.
    void this.#identify(held);
  }

  /** Finds out whose the endpoint is: what others are to know it by. */
  async #identify(held: Held): Promise<void> {
    if (held.isIdentified) return;
    held.isIdentified = true;
    try {
      const endpoints = (await this.#options.engine.endpoints(held.engineNetwork)) ?? [];
      const found = endpoints.find(({ endpointId }) => endpointId === held.endpointId);
      if (found === undefined) throw new ApiaryError('not-found', 'the engine does not list it');
      const container = await this.#options.engine.container(found.containerId);
      if (container === undefined || !this.#held.has(held.attachmentId)) return;
      held.containerId = found.containerId;
      held.containerName = container.name;
      held.aliases = [...(container.aliases.get(held.endpointId) ?? [])];
      this.#changed();
    } catch (error) {
      this.#options.logger.info({ reason: messageOf(error) }, 'a container on a network has no name yet');
      this.#options.clock.after(NAME_RETRY_MS, () => this.look());
    }
  }

  async #lookAll(): Promise<void> {
    const { clock, logger } = this.#options;
    this.#timer?.cancel();
    while (this.#isLookDue && !this.#isOver) {
      this.#isLookDue = false;
      try {
        await this.#lookOnce();
      } catch (error) {
        logger.debug({ reason: messageOf(error) }, "cannot look at the engine's networks");
      }
    }
    // At once with the last look at whether another is due: what is asked for from here on begins anew.
    this.#look = undefined;
    this.#timer?.cancel();
    const isNameless = [...this.#held.values()].some((held) => held.namespace !== '' && held.containerId === '');
    if (!this.#isOver) this.#timer = clock.after(isNameless ? NAME_RETRY_MS : LOOK_PERIOD_MS, () => this.look());
  }

  async #lookOnce(): Promise<void> {
    const networks = await this.#options.engine.list();
    await this.#adopt(networks.filter(({ networkId }) => networkId !== undefined));
    // Before the managers have told of any, none is too many.
    if (this.#isTold) await this.#mirror.ensure(this.#networks, networks);
    for (const { attachmentId, error } of this.#told) {
      if (error !== '' && !this.#waiting.has(attachmentId)) await this.#putOut(attachmentId, error);
    }
  }

  async #adopt(networks: readonly EngineNetwork[]): Promise<void> {
    const { engine } = this.#options;
    const found = new Set<string>();
    const nowMs = this.#options.clock.now();
    for (const { id, networkId = '' } of networks) {
      for (const { endpointId, containerId, address, ipv6Address } of (await engine.endpoints(id)) ?? []) {
        const held = this.#heldAt(networkId, address, ipv6Address);
        found.add(held.attachmentId);
        if (held.endpointId === '') held.endpointId = endpointId;
        const isKnown = held.namespace !== '' && held.containerId !== '';
        const container = isKnown && this.#isAdopted ? undefined : await engine.container(containerId);
        if (container !== undefined) {
          held.containerId = containerId;
          held.containerName = container.name;
          held.aliases = [...(container.aliases.get(endpointId) ?? [])];
          if (held.namespace === '') held.namespace = container.sandboxKey;
        }
        // Also of one that is known: what could not be made for it may be by now.
        if (held.namespace !== '') await this.#options.sandboxes.put(held.namespace, held);
      }
    }
    for (const held of [...this.#held.values()]) {
      if (found.has(held.attachmentId) || this.#waiting.has(held.attachmentId)) held.missedSinceMs = undefined;
      else held.missedSinceMs ??= nowMs;
      // Perhaps it is on its way: the engine lists it once it has its interface.
      if (nowMs - (held.missedSinceMs ?? nowMs) >= LOST_AFTER_MS) this.#drop(held);
    }
    const isFirst = !this.#isAdopted;
    this.#isAdopted = true;
    this.#changed();
    if (isFirst) this.#options.onAdopted();
  }

  /** The one that has the address, or what an earlier process, or a manager, knew of it. */
  #heldAt(networkId: string, address: string, ipv6Address: string): Held {
    const known = this.#find((each) => each.networkId === networkId && each.address === address);
    if (known !== undefined) return known;
    const told = this.#told.find((each) => each.networkId === networkId && each.address === address);
    const attachmentId = told?.attachmentId ?? newId(this.#options.rng);
    const named = { containerId: '', containerName: '', aliases: [] };
    const isDual = { ipv6Address, hasIpv6: ipv6Address !== '' };
    const held: Held = { attachmentId, networkId, address, ...named, ...UNKNOWN, ...isDual };
    this.#held.set(attachmentId, held);
    return held;
  }

  /** The managers will not have it: somebody else has its address by now. */
  async #putOut(attachmentId: string, reason: string): Promise<void> {
    const held = this.#held.get(attachmentId);
    if (held === undefined) return;
    const { engine, logger } = this.#options;
    logger.error({ container: held.containerName, reason }, 'a container is taken off its network');
    const network = (await engine.list()).find(({ networkId }) => networkId === held.networkId);
    if (network !== undefined && held.containerId !== '') await engine.disconnect(network.id, held.containerId);
    this.#drop(held);
  }

  #drop(held: Held): void {
    if (!this.#held.delete(held.attachmentId)) return;
    if (held.namespace !== '') void this.#options.sandboxes.drop(held.namespace, held);
    this.#options.ports.retract(held).catch((error: unknown) => {
      this.#options.logger.warn({ reason: messageOf(error) }, 'an interface of a container is left behind');
    });
    this.#changed();
  }

  #find(test: (held: Held) => boolean): Held | undefined {
    return [...this.#held.values()].find(test);
  }

  #changed(): void {
    const attachments = [...this.#held.values()].map(
      ({ attachmentId, networkId, address, containerId, containerName, aliases, ipv6Address, hasIpv6 }) => ({
        attachmentId,
        networkId,
        address,
        ipv6Address,
        hasIpv6,
        containerId,
        containerName,
        aliases: [...aliases],
      }),
    );
    const report = { attachments, isComplete: this.#isAdopted };
    if (JSON.stringify(report) === JSON.stringify(this.#report)) return;
    this.#report = report;
    this.#options.onChange();
  }
}

/** Addresses of networks differ, as their subnets do. */
function linkOf({ address }: Held): string {
  return `apc${hexadecimal(address)}`;
}
