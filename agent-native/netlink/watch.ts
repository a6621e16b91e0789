import type { NativeMonitor } from '../binding.js';
import type { NamespaceRef } from '../namespace.js';
import { type Address, RTM_DELADDR, RTM_NEWADDR, readAddress } from './address.js';
import { type Link, RTM_DELLINK, RTM_NEWLINK, readLink } from './link.js';
import { messagesIn, type ReceivedMessage } from './message.js';
import { startMonitor } from './monitor.js';
import { type FdbEntry, type Neighbour, RTM_DELNEIGH, RTM_NEWNEIGH, readFdbEntry, readNeighbour } from './neighbour.js';
import { NETLINK_ROUTE } from './netlink.js';
import { type Route, RTM_DELROUTE, RTM_NEWROUTE, readRoute } from './route.js';
import { RTM_DELRULE, RTM_NEWRULE, type Rule, readRule } from './rule.js';

/** What can be watched, and the kernel's numbers of the groups that tell of it. */
const GROUPS = {
  links: [1],
  /** Neighbours and FDB entries. */
  neighbours: [3],
  addresses: [5, 9],
  routes: [7, 11],
  rules: [8, 19],
} as const;

export type WatchSubject = keyof typeof GROUPS;

/** What was made or changed (`set`) or is no more (`gone`). */
export type NetworkEvent =
  | { change: 'set' | 'gone'; kind: 'link'; link: Link }
  | { change: 'set' | 'gone'; kind: 'address'; address: Address }
  | { change: 'set' | 'gone'; kind: 'route'; route: Route }
  | { change: 'set' | 'gone'; kind: 'rule'; rule: Rule }
  | { change: 'set' | 'gone'; kind: 'neighbour'; neighbour: Neighbour }
  | { change: 'set' | 'gone'; kind: 'fdb'; fdb: FdbEntry }
  /** Notifications were lost: whoever keeps a picture must list anew. */
  | { change: 'lost' };

export interface WatchOptions {
  subjects: readonly WatchSubject[];
  /** Told in the order of the kernel, many at a time. */
  listener: (events: readonly NetworkEvent[]) => void;
  /** The watching is over, and not because it was closed. */
  onFailure: (error: Error) => void;
  namespace?: NamespaceRef;
}

/** Notifications of change, until it is closed: a thread and a descriptor. It keeps its namespace alive. */
export class NetworkWatch {
  readonly #monitor: NativeMonitor;

  private constructor(monitor: NativeMonitor) {
    this.#monitor = monitor;
  }

  /**
   * Resolves when everything that changes from now on will be told.
   *
   * @throws KernelError when there is no such namespace
   */
  static async open(options: WatchOptions): Promise<NetworkWatch> {
    const { subjects, listener, onFailure, namespace } = options;
    const groups = subjects.flatMap((subject) => groupsOf(subject));
    const tell = (messages: Buffer | null) => {
      if (messages === null) return listener([{ change: 'lost' }]);
      const events = [...messagesIn(messages)].flatMap((message) => eventOf(message) ?? []);
      if (events.length > 0) listener(events);
    };
    return new NetworkWatch(
      await startMonitor({ protocol: NETLINK_ROUTE, groups, listener: tell, onFailure, namespace }),
    );
  }

  /** Ends it; the listener is not called any more. */
  close(): void {
    this.#monitor.close();
  }
}

function groupsOf(subject: WatchSubject): readonly number[] {
  if (!Object.hasOwn(GROUPS, subject)) {
    throw new TypeError(`"${String(subject)}" cannot be watched; ${Object.keys(GROUPS).join(', ')} can`);
  }
  return GROUPS[subject];
}

function eventOf({ type, body }: ReceivedMessage): NetworkEvent | undefined {
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const link = readLink(body);
      return link && { change: type === RTM_NEWLINK ? 'set' : 'gone', kind: 'link', link };
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const address = readAddress(body);
      return address && { change: type === RTM_NEWADDR ? 'set' : 'gone', kind: 'address', address };
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = readRoute(body);
      return route && { change: type === RTM_NEWROUTE ? 'set' : 'gone', kind: 'route', route };
    }
    case RTM_NEWRULE:
    case RTM_DELRULE: {
      const rule = readRule(body);
      return rule && { change: type === RTM_NEWRULE ? 'set' : 'gone', kind: 'rule', rule };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const change = type === RTM_NEWNEIGH ? 'set' : 'gone';
      const fdb = readFdbEntry(body);
      if (fdb !== undefined) return { change, kind: 'fdb', fdb };
      const neighbour = readNeighbour(body);
      return neighbour && { change, kind: 'neighbour', neighbour };
    }
    default:
      return undefined;
  }
}
