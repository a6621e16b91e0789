import { readSysctls, writeSysctls } from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';

/** Names as in `net.ipv4.conf.LINK`: `rp_filter`. */
export type LinkSettings = Readonly<Record<string, string>>;

/** A link's settings of a family, as the names and values of sysctls. */
export function linkSysctls(family: 'ipv4' | 'ipv6', link: string, settings: LinkSettings): LinkSettings {
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [`net/${family}/conf/${link}/${name}`, value]),
  );
}

/**
 * Writes those that are not so.
 *
 * @returns whether there was one
 * @throws KernelError `ENOENT` when there is no such link
 */
export async function ensureLinkSettings(
  family: 'ipv4' | 'ipv6',
  link: string,
  settings: LinkSettings,
): Promise<boolean> {
  const wanted = Object.entries(linkSysctls(family, link, settings));
  const present = await readSysctls(wanted.map(([name]) => name));
  const wrong = wanted.filter(([name, value]) => present.get(name) !== value);
  if (wrong.length > 0) await writeSysctls(Object.fromEntries(wrong));
  return wrong.length > 0;
}

/** What is set of many links, each with the names of its own; of one that has gone meanwhile, nothing. */
export async function presentSysctls(names: readonly string[][]): Promise<ReadonlyMap<string, string>> {
  const unlessGone = (error: unknown): ReadonlyMap<string, string> => {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
    return new Map();
  };
  const all = await readSysctls(names.flat()).catch(unlessGone);
  if (all.size > 0) return all;
  const each = await Promise.all(names.map((some) => readSysctls(some).catch(unlessGone)));
  return new Map(each.flatMap((some) => [...some]));
}
