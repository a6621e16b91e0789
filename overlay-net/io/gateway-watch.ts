import { type NetworkEvent, NetworkWatch, RulesetWatch } from '@apiary/agent-native';
import { messageOf } from '@apiary/std';
import { isTunnelMac } from '../core/index.js';
import { GATEWAY_PROTOCOL, OWN_LINKS } from './kernel-names.js';

export interface GatewayWatchOptions {
  /** Some rule of nftables was changed. */
  onRules: () => void;
  /** A part of a gateway network may be gone. */
  onLoss: () => void;
  /** Something cannot be heard of: changes of `nftables`, or of `the network`. */
  onFailure: (what: string, reason: string) => void;
}

/** Hears of what becomes of the parts of a gateway network, as far as this kernel tells, until it is closed. */
export class GatewayWatch {
  readonly #watches: readonly { close(): void }[];

  private constructor(watches: readonly { close(): void }[]) {
    this.#watches = watches;
  }

  static async open({ onRules, onLoss, onFailure }: GatewayWatchOptions): Promise<GatewayWatch> {
    const failed = (what: string) => (error: unknown) => {
      onFailure(what, messageOf(error));
      return undefined;
    };
    const opened = await Promise.all([
      RulesetWatch.open({ listener: onRules, onFailure: failed('nftables') }).catch(failed('nftables')),
      NetworkWatch.open({
        subjects: ['links', 'routes', 'rules', 'neighbours'],
        listener: (events) => {
          if (events.some(isLoss)) onLoss();
        },
        onFailure: failed('the network'),
      }).catch(failed('the network')),
    ]);
    return new GatewayWatch(opened.filter((watch) => watch !== undefined));
  }

  close(): void {
    for (const watch of this.#watches) watch.close();
  }
}

/** Whether a part of a gateway network may be gone, but for the links of tasks: these go with them. */
function isLoss(event: NetworkEvent): boolean {
  if (event.change === 'lost') return true;
  switch (event.kind) {
    case 'link':
      return OWN_LINKS.includes(event.link.name) && !(event.change === 'set' && event.link.isUp);
    case 'route':
      // Of IPv6 those to a task are told of too, which go with its link.
      if (event.route.destination.endsWith('/128')) return false;
      return event.change === 'gone' && event.route.protocol === `${GATEWAY_PROTOCOL}`;
    case 'rule':
      return event.change === 'gone' && event.rule.protocol === GATEWAY_PROTOCOL;
    case 'neighbour':
      return event.change === 'gone' && isTunnelMac(event.neighbour.mac ?? '');
    case 'fdb':
      return event.change === 'gone' && isTunnelMac(event.fdb.mac);
    case 'address':
      return false;
  }
}
