import { textOf } from '../canonical/forms.js';
import type { Diagnostics } from '../document/diagnostic.js';
import { child, type MapEntry, type MapNode, mapChild, withEntries, withEntry } from '../document/node.js';

export interface Profiled {
  root: MapNode;
  /** Services that are not wanted, with the profiles that they are of. */
  leftOut: { name: string; profiles: string[] }[];
}

/** The project without the services whose profiles nobody wants; `*` wants all. */
export function withProfiles(root: MapNode, profiles: readonly string[], diagnostics: Diagnostics): Profiled {
  const services = mapChild(root, 'services');
  if (services === undefined) return { root, leftOut: [] };
  const wanted = new Map<string, MapEntry>();
  const left = new Map<string, string[]>();
  for (const [name, entry] of services.entries) {
    const own = child(entry.node, 'profiles');
    const names = own?.kind === 'list' ? own.items.map(textOf) : [];
    const isWanted =
      names.length === 0 || profiles.includes('*') || names.some((profile) => profiles.includes(profile));
    if (!isWanted) left.set(name, names);
    else if (entry.node.kind === 'map')
      wanted.set(name, { ...entry, node: withEntry(entry.node, 'profiles', undefined) });
  }
  for (const [name, { node }] of wanted) {
    for (const [other, entry] of mapChild(node, 'depends_on')?.entries ?? []) {
      const required = child(entry.node, 'required');
      if (!left.has(other) || (required?.kind === 'scalar' && required.value === false)) continue;
      const message = `service "${other}" is left out, for none of its profiles is wanted: add --profile`;
      diagnostics.warn(message, ['services', name, 'depends_on', other], entry.keyPlace);
    }
  }
  const leftOut = [...left].map(([name, own]) => ({ name, profiles: own }));
  return { root: withEntry(root, 'services', withEntries(services, wanted)), leftOut };
}
