import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  createNetworkNamespace,
  deleteNetworkNamespace,
  type NamespaceRef,
  Netlink,
  writeSysctls,
} from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';

/**
 * What must not happen in a namespace whose links only pass frames on: it routes nothing, has no IPv6 of its own, and keeps
 * what is bridged from the packet filter. A kernel without one of these has nothing to turn off.
 */
const SEALED = {
  'net/ipv4/ip_forward': 0,
  'net/ipv6/conf/all/disable_ipv6': 1,
  'net/ipv6/conf/default/disable_ipv6': 1,
  'net/bridge/bridge-nf-call-iptables': 0,
  'net/bridge/bridge-nf-call-ip6tables': 0,
  'net/bridge/bridge-nf-call-arptables': 0,
};

/** A network namespace of ours, by its name below /run/netns, and a connection to its kernel configuration. */
export class NetworkNamespace {
  readonly ref: NamespaceRef;
  readonly #inode: number;

  private constructor(
    readonly path: string,
    readonly netlink: Netlink,
    inode: number,
  ) {
    this.ref = { path };
    this.#inode = inode;
  }

  /** The one of that name: what an earlier process left, or a new one. */
  static async open(path: string): Promise<NetworkNamespace> {
    await mkdir(dirname(path), { recursive: true });
    await createNetworkNamespace(path).catch((error: unknown) => {
      if (systemCodeOf(error) !== 'EEXIST') throw error;
    });
    const netlink = await Netlink.open({ namespace: { path } }).catch(async (error: unknown) => {
      // A file that stands for no namespace: it was left by a machine that lost its power.
      if (systemCodeOf(error) !== 'EINVAL') throw error;
      await deleteNetworkNamespace(path);
      await createNetworkNamespace(path);
      return await Netlink.open({ namespace: { path } });
    });
    for (const [name, value] of Object.entries(SEALED)) {
      await writeSysctls({ [name]: value }, { path }).catch((error: unknown) => {
        if (systemCodeOf(error) !== 'ENOENT') throw error;
      });
    }
    return new NetworkNamespace(path, netlink, (await stat(path)).ino);
  }

  /** Whether its name still stands for it. */
  async isNamed(): Promise<boolean> {
    return (await inodeOf(this.path)) === this.#inode;
  }

  /** It stays, with all that is in it. */
  async close(): Promise<void> {
    await this.netlink.close();
  }

  /** Takes a namespace of ours away, with what is in it; nothing happens when there is none. */
  static async remove(path: string): Promise<void> {
    await deleteNetworkNamespace(path).catch((error: unknown) => {
      if (systemCodeOf(error) !== 'ENOENT') throw error;
    });
  }
}

/** Which namespace a file stands for; undefined when there is no such file. */
export async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).ino;
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
