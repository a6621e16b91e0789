import type { AttachmentsReport } from '@apiary/api/rpc';
import { type Clock, messageOf, type Rng } from '@apiary/std';
import type { Logger } from 'pino';
import type { AttachmentsMessage } from '../../core/index.js';
import type { GatewaySystem } from '../gate-network/gateway-system.js';
import type { OverlayAttachments } from '../gate-network/overlay-attachments.js';
import { Attachments } from './attachments.js';
import type { EngineNetworks } from './engine-networks.js';
import { libnetworkDriver } from './libnetwork-driver.js';
import { PluginServer } from './plugin-server.js';
import { Sandboxes } from './sandboxes.js';

/** How long the engine may take when this node stops. */
const STOP_PATIENCE_MS = 3_000;

export interface GuestsOptions {
  engine: EngineNetworks;
  /** Where the engine looks for its driver. */
  pluginSocket: string;
  system: Pick<GatewaySystem, 'namespaceAt' | 'openNamespaceNames'>;
  overlays: OverlayAttachments;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** `report` is another. */
  onChange: () => void;
}

/** Containers of this node that are no tasks, on networks of the cluster: the engine's driver, and what is behind it. */
export class Guests {
  readonly #options: GuestsOptions;
  readonly #sandboxes: Sandboxes;
  readonly #attachments: Attachments;
  readonly #server: Promise<PluginServer | undefined>;

  constructor(options: GuestsOptions) {
    const { engine, pluginSocket, system, overlays, clock, rng, logger, onChange } = options;
    this.#options = options;
    overlays.expectGuests();
    let isAdopted = false;
    const tell = () => {
      if (isAdopted) overlays.setGuests(this.#sandboxes.guests);
    };
    this.#sandboxes = new Sandboxes({
      system,
      names: { answer: (...question) => overlays.answer(...question) },
      clock,
      logger,
      onChange: tell,
    });
    this.#attachments = new Attachments({
      engine,
      sandboxes: this.#sandboxes,
      ports: {
        offer: (...offer) => overlays.offer(...offer),
        retract: (attachment) => overlays.retract(attachment),
      },
      clock,
      rng,
      logger,
      onChange,
      onAdopted: () => {
        isAdopted = true;
        tell();
      },
    });
    // At once: an engine that has such networks and starts now waits for their driver.
    this.#server = PluginServer.listen(pluginSocket, libnetworkDriver(this.#attachments)).catch((error: unknown) => {
      logger.warn({ reason: messageOf(error) }, 'containers that are no tasks cannot be on networks of the cluster');
      return undefined;
    });
  }

  get report(): AttachmentsReport {
    return this.#attachments.report;
  }

  apply(message: AttachmentsMessage): void {
    this.#attachments.apply(message);
  }

  /** The engine answers. */
  look(): void {
    this.#attachments.look();
  }

  async close(): Promise<void> {
    this.#attachments.close();
    await this.#removeUnused();
    this.#options.engine.close();
    this.#sandboxes.close();
    await (await this.#server)?.close();
  }

  /** The engine may be away, or stand still: then they stay. */
  async #removeUnused(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(STOP_PATIENCE_MS, resolve);
      const end = () => {
        timer.cancel();
        resolve();
      };
      this.#attachments.removeUnused().then(end, end);
    });
  }

  /** Takes containers off the networks, and these away from the engine. */
  async remove(): Promise<void> {
    await this.#attachments.remove().catch((error: unknown) => {
      const words = "networks of the cluster are left behind among the engine's";
      this.#options.logger.warn({ reason: messageOf(error) }, words);
    });
  }
}
