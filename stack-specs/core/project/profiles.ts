import { textOf } from '../canonical/forms.js';
import type { Diagnostics } from '../document/diagnostic.js';
import { child, type MapEntry, type MapNode, mapChild, withEntries, withEntry } from '../document/node.js';

/** The project without the services whose profiles nobody wants; `*` wants all. */
export function withProfiles(root: MapNode, profiles: readonly string[], diagnostics: Diagnostics): MapNode {
  const services = mapChild(root, 'services');
  if (services === undefined) return root;
  const wanted = new Map<string, MapEntry>();
  const left = new Set<string>();
  for (const [name, entry] of services.entries) {
    const own = child(entry.node, 'profiles');
    const names = own?.kind === 'list' ? own.items.map(textOf) : [];
    const isWanted =
      names.length === 0 || profiles.includes('*') || names.some((profile) => profiles.includes(profile));
    if (!isWanted) left.add(name);
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
  return withEntry(root, 'services', withEntries(services, wanted));
}
