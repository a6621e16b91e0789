import { readdir } from 'node:fs/promises';
import { readSysctls, writeSysctls } from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';

const DIRECTORY = 'net/ipv6/conf';
const ALL = `${DIRECTORY}/all/forwarding`;
const DEFAULT = `${DIRECTORY}/default/forwarding`;
const DISABLED = `${DIRECTORY}/all/disable_ipv6`;

/** Why this host has no IPv6, or undefined. */
export async function ipv6Gap(): Promise<string | undefined> {
  try {
    const isOff = (await readSysctls([DISABLED])).get(DISABLED) !== '0';
    return isOff ? 'net.ipv6.conf.all.disable_ipv6 is set' : undefined;
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return "this host's kernel runs without IPv6";
    throw error;
  }
}

/** Whether the host forwards IPv6, and each of its links is nevertheless one of a host: as `ensureIpv6Forwarding` leaves it. */
export async function forwardsForTasksAlone(): Promise<boolean> {
  const values = await readSysctls([ALL, DEFAULT]);
  return values.get(ALL) === '1' && values.get(DEFAULT) === '0';
}

/**
 * Has the host forward IPv6, unless it does already. The kernel forwards when that is set for *all* links, and takes each link
 * for a router's by what is set for that one: so links stay what they were, and hear from routers by which way the host is reached.
 * While all are switched, their routes of routers stay with `accept_ra` 2 alone.
 *
 * @returns whether it had to be set
 */
export async function ensureIpv6Forwarding(): Promise<boolean> {
  if ((await readSysctls([ALL])).get(ALL) === '1') return false;
  const links = (await readdir(`/proc/sys/${DIRECTORY}`)).filter((name) => name !== 'all' && name !== 'default');
  const hosts = await having(links, 'forwarding', '0');
  const listening = await having(hosts, 'accept_ra', '1');
  await set(listening, 'accept_ra', '2');
  await writeSysctls({ [ALL]: '1', [DEFAULT]: '0' });
  await set(hosts, 'forwarding', '0');
  await set(listening, 'accept_ra', '1');
  return true;
}

/** Has the host forward IPv6 no more, if it was made to. */
export async function endIpv6Forwarding(): Promise<void> {
  if ((await ipv6Gap()) === undefined && (await forwardsForTasksAlone())) await writeSysctls({ [ALL]: '0' });
}

async function having(links: readonly string[], setting: string, value: string): Promise<string[]> {
  const found: string[] = [];
  for (const link of links) {
    const name = `${DIRECTORY}/${link}/${setting}`;
    const values = await readSysctls([name]).catch(ifThere);
    if (values?.get(name) === value) found.push(link);
  }
  return found;
}

async function set(links: readonly string[], setting: string, value: string): Promise<void> {
  for (const link of links) await writeSysctls({ [`${DIRECTORY}/${link}/${setting}`]: value }).catch(ifThere);
}

/** A link may go at any time. */
function ifThere(error: unknown): undefined {
  if (systemCodeOf(error) !== 'ENOENT') throw error;
}
