import type { AssignedNetwork } from '@apiary/overlay-net/core';
import { messageOf } from '@apiary/std';
import type { Logger } from 'pino';
import type { EngineNetwork, EngineNetworks } from './engine-networks.js';

/** Keeps the engine's networks of our driver as the cluster's attachable ones are. */
export class NetworkMirror {
  readonly #engine: EngineNetworks;
  readonly #logger: Logger;
  /** Of the cluster's, whose name one of the engine's own has: told once. */
  readonly #hidden = new Set<string>();

  constructor(engine: EngineNetworks, logger: Logger) {
    this.#engine = engine;
    this.#logger = logger;
  }

  /**
   * @param networks  the cluster's, by id
   * @param present   all of the engine's
   */
  async ensure(networks: ReadonlyMap<string, AssignedNetwork>, present: readonly EngineNetwork[]): Promise<void> {
    const there = await this.#removeOthers(networks, present);
    for (const network of networks.values()) {
      if (there.has(network.networkId)) continue;
      if (present.some(({ name, networkId }) => name === network.name && networkId === undefined)) {
        if (this.#hidden.has(network.networkId)) continue;
        this.#hidden.add(network.networkId);
        const words = "the engine has a network of its own of this name: no container can be put on the cluster's here";
        this.#logger.warn({ network: network.name }, words);
        continue;
      }
      await this.#engine.create(network).catch((error: unknown) => {
        const fields = { network: network.name, reason: messageOf(error) };
        this.#logger.warn(fields, "cannot make an attachable network the engine's");
      });
    }
  }

  /** @returns which of the cluster's the engine has */
  async #removeOthers(
    networks: ReadonlyMap<string, AssignedNetwork>,
    present: readonly EngineNetwork[],
  ): Promise<Set<string>> {
    const there = new Set<string>();
    for (const { id, networkId, hasIpv6 } of present) {
      if (networkId === undefined) continue;
      const network = networks.get(networkId);
      const isCurrent = network !== undefined && hasIpv6 === ((network.ipv6Subnet ?? '') !== '');
      // One that was made when containers had no IPv6 stays as it is while somebody is on it.
      if (isCurrent || (network !== undefined && (await this.#engine.endpoints(id))?.length !== 0)) {
        there.add(networkId);
        continue;
      }
      // While somebody is on it, it stays.
      await this.#engine.remove(id).catch((error: unknown) => {
        there.add(networkId);
        this.#logger.warn({ network: id, reason: messageOf(error) }, 'cannot remove a network from the engine');
      });
    }
    return there;
  }
}
