import { join } from 'node:path';
import type { NetworkState } from '@apiary/overlay-net/core';
import { type Clock, messageOf } from '@apiary/std';
import type { Logger } from 'pino';
import type { TaskPort } from '../../core/index.js';
import type { Gateway, GatewaySystem, Vips } from './gateway-system.js';
import { type GatewayPlace, HostPorts } from './host-ports.js';
import { Withdrawals } from './withdrawals.js';

export interface EntrancesOptions {
  system: GatewaySystem;
  directory: string;
  clock: Clock;
  logger: Logger;
}

/** By which connections come to tasks: ports of every node and of this one, and VIPs. */
export class Entrances {
  readonly #options: EntrancesOptions;
  readonly #ports: HostPorts;
  readonly #withdrawals: Withdrawals;
  #gateway: Gateway | undefined;
  #vips: Vips | undefined;
  #vipTrouble = '';
  #state: NetworkState | undefined;
  /** All tasks that run are known: until then no port of theirs is to be taken away. */
  #isComplete = false;

  constructor(options: EntrancesOptions) {
    this.#options = options;
    this.#ports = new HostPorts(options.system.reserve);
    this.#withdrawals = new Withdrawals(options.clock);
  }

  /** Empty while there are VIPs; else why names stand for tasks on this node. */
  get vipTrouble(): string {
    return this.#vipTrouble;
  }

  get hasVips(): boolean {
    return this.#vips !== undefined;
  }

  async open(gateway: Gateway): Promise<void> {
    const { system, clock, logger } = this.#options;
    this.#gateway = gateway;
    try {
      this.#vips = await system.openVips({ directory: vipDirectory(this.#options.directory), clock, logger });
    } catch (error) {
      this.#vipTrouble = messageOf(error);
      logger.warn({ reason: this.#vipTrouble }, 'names stand for tasks on this node: it cannot have VIPs');
    }
    this.#publish();
    if (this.#state !== undefined) void this.apply(this.#state);
  }

  /** How the networks are, and which tasks are on them here. @returns when this host's kernel does as it says, or cannot */
  async apply(state: NetworkState): Promise<void> {
    this.#state = state;
    const { publishedPorts, endpointSets } = state;
    this.#ports.avoid((protocol, port) => publishedPorts.has(`${protocol}/${port}`));
    await Promise.all([this.#gateway?.apply(state), this.#vips?.apply(state)]);
    this.#withdrawals.applied({ publishedPorts, endpointSets });
  }

  /** Resolves when nobody is led to a task any more, or should have been. */
  async withdrawn(taskId: string, serviceId: string): Promise<void> {
    await this.#withdrawals.of(taskId, serviceId);
  }

  /** All tasks that run here have been adopted. */
  complete(): void {
    this.#isComplete = true;
    this.#publish();
  }

  /**
   * Gives a task ports of this host.
   *
   * @returns the ports, those without a number with one
   * @throws ApiaryError `failed-precondition` when one is somebody else's
   */
  async claim(taskId: string, place: GatewayPlace, ports: readonly TaskPort[]): Promise<TaskPort[]> {
    if (ports.length === 0) return [];
    const claimed = await this.#ports.claim(taskId, place, ports);
    await this.#gateway?.publish(this.#ports.rows);
    return claimed;
  }

  /** A task runs, and has these. */
  adopt(taskId: string, place: GatewayPlace, ports: readonly TaskPort[]): void {
    if (ports.length === 0) return;
    void this.#ports.adopt(taskId, place, ports);
    this.#publish();
  }

  /** The task's container has ended. */
  release(taskId: string): void {
    if (this.#ports.release(taskId)) this.#publish();
  }

  async close(): Promise<void> {
    this.#withdrawals.close();
    this.#ports.releaseAll();
    await this.#vips?.close();
    this.#vips = undefined;
    this.#gateway = undefined;
  }

  /** None may be open. */
  async remove(): Promise<void> {
    await this.#options.system.removeVips(vipDirectory(this.#options.directory));
  }

  #publish(): void {
    if (this.#isComplete) void this.#gateway?.publish(this.#ports.rows);
  }
}

function vipDirectory(directory: string): string {
  return join(directory, 'vips');
}
