import type { Netlink } from '@apiary/agent-native';

/** Together a few tens of milliseconds. */
const MOST_LOOKS = 200;

/**
 * Waits until links that were just set up are in use: the kernel comes to that by and by, and loses what is sent by them
 * before, so that who asks gets no answer for as long as his patience lasts (a second for an address, five for a name).
 *
 * Since Linux 6.8 a link that is asked for is in use at once. A link that is not there, or does not come, is not waited for.
 *
 * @param links  in the order in which one needs the other: a port before its bridge
 */
export async function linksInUse(netlink: Netlink, links: readonly string[]): Promise<void> {
  for (const name of links) {
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const link = await netlink.link(name);
      if (link === undefined || link.operState === 'up') break;
    }
  }
}
