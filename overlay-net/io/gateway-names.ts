import { existsSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises';
import {
  type Change,
  createNetworkNamespace,
  deleteNetworkNamespace,
  type Link,
  type NamespaceRef,
  type Netlink,
} from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';
import { type GatewaySubnet, LINK_GROUPS, macOf } from '../core/index.js';
import { GATEWAY_PROTOCOL, NAMES_LINK } from './kernel-names.js';
import { linksInUse } from './link-carrier.js';

const INNER_LINK = 'eth0';
const DIRECTORY = '/run/netns';
/** For as long as it takes to open it; with the number of the process. */
const NAMESPACE_NAME = 'apiary-names-';

/** Where a name server is to listen. */
export interface NamesPlace {
  namespace: NamespaceRef;
  address: string;
}

/**
 * A network namespace for this host's name server, which is led to by translation, as tasks are by published ports: what a
 * firewall says of what comes in for the host itself does not concern it.
 *
 * The namespace has no name: it lives as long as somebody here holds it, and its link with it, so that nothing is left behind.
 */
export class GatewayNames {
  readonly #netlink: Netlink;
  readonly #subnet: GatewaySubnet;
  readonly #handle: FileHandle;
  readonly place: NamesPlace;

  private constructor(netlink: Netlink, subnet: GatewaySubnet, handle: FileHandle) {
    this.#netlink = netlink;
    this.#subnet = subnet;
    this.#handle = handle;
    this.place = { namespace: { path: `/proc/self/fd/${handle.fd}` }, address: subnet.names };
  }

  /** @throws KernelError */
  static async open(netlink: Netlink, subnet: GatewaySubnet): Promise<GatewayNames> {
    await mkdir(DIRECTORY, { recursive: true });
    await sweep();
    const path = `${DIRECTORY}/${NAMESPACE_NAME}${process.pid}`;
    await createNetworkNamespace(path);
    const handle = await open(path);
    await deleteNetworkNamespace(path);
    const names = new GatewayNames(netlink, subnet, handle);
    try {
      await names.#make();
    } catch (error) {
      await handle.close();
      throw error;
    }
    return names;
  }

  /** @returns what was put right, in words */
  async ensure(): Promise<string[]> {
    const link = await this.#netlink.link(NAMES_LINK);
    if (link !== undefined && (await this.#isWell(link))) return [];
    await this.#make();
    return [NAMES_LINK];
  }

  /** Takes the link away; nobody may listen there any more. */
  async close(): Promise<void> {
    await removeNamesLink(this.#netlink);
    await this.#handle.close();
  }

  async #isWell({ index, isUp, group, address }: Link): Promise<boolean> {
    const { names, gateway } = this.#subnet;
    if (!isUp || group !== LINK_GROUPS.names || address !== macOf(gateway)) return false;
    const routes = await this.#netlink.routes({ family: 'ipv4', link: index });
    if (!routes.some(({ destination }) => destination === `${names}/32`)) return false;
    const known = await this.#netlink.neighbours({ family: 'ipv4', link: index });
    return known.some((each) => each.address === names && each.mac === macOf(names) && each.state === 'permanent');
  }

  async #make(): Promise<void> {
    const { names, gateway } = this.#subnet;
    const { namespace } = this.place;
    await removeNamesLink(this.#netlink);
    const inside = (change: Change): Change => ({ in: namespace, ...change });
    await this.#netlink.apply([
      {
        do: 'add-link',
        link: {
          kind: 'veth',
          name: NAMES_LINK,
          address: macOf(gateway),
          group: LINK_GROUPS.names,
          peer: { name: INNER_LINK, namespace, address: macOf(names) },
        },
      },
      { do: 'set-link', link: NAMES_LINK, to: { ipv6AddressGeneration: 'none' } },
      inside({ do: 'add-address', address: { link: INNER_LINK, address: `${names}/32` } }),
      inside({ do: 'set-link', link: INNER_LINK, to: { isUp: true, ipv6AddressGeneration: 'none' } }),
      { do: 'set-link', link: NAMES_LINK, to: { isUp: true } },
      inside({ do: 'add-neighbour', neighbour: { link: INNER_LINK, address: gateway, mac: macOf(gateway) } }),
      inside({ do: 'add-route', route: { destination: 'default', gateway, link: INNER_LINK, isOnLink: true } }),
      { do: 'add-neighbour', neighbour: { link: NAMES_LINK, address: names, mac: macOf(names) } },
      {
        do: 'add-route',
        route: { destination: `${names}/32`, link: NAMES_LINK, scope: 'link', protocol: GATEWAY_PROTOCOL },
      },
    ]);
    await linksInUse(this.#netlink, [NAMES_LINK]);
  }
}

/** Takes away the names that processes left which were killed while they had one. */
async function sweep(): Promise<void> {
  for (const name of await readdir(DIRECTORY)) {
    const [, pid] = new RegExp(`^${NAMESPACE_NAME}(\\d+)$`).exec(name) ?? [];
    if (pid === undefined || (pid !== `${process.pid}` && existsSync(`/proc/${pid}`))) continue;
    await deleteNetworkNamespace(`${DIRECTORY}/${name}`).catch((error: unknown) => {
      // Another has been here.
      if (systemCodeOf(error) !== 'ENOENT') throw error;
    });
  }
}

/** Nothing happens when there is none. */
async function removeNamesLink(netlink: Netlink): Promise<void> {
  await netlink.apply([{ do: 'delete-link', link: NAMES_LINK }]).catch((error: unknown) => {
    if (systemCodeOf(error) !== 'ENODEV') throw error;
  });
}
