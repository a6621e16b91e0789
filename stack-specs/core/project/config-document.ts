import { type MapNode, type Plain, plain } from '../document/node.js';

/**
 * A project as `stack config` prints it: merged, in one form, sorted by name.
 *
 * @param directory  the project's: a secret or config that does not say where it comes from comes, as with Docker, from there
 */
export function configDocument(root: MapNode, directory: string): Plain {
  const document = plain(root) as { [key: string]: Plain };
  for (const kind of ['secrets', 'configs']) {
    const contents = document[kind];
    if (!isMapping(contents)) continue;
    for (const [name, content] of Object.entries(contents)) {
      const known = isMapping(content) ? content : {};
      const says = ['external', 'file', 'content', 'environment', 'driver'].some((key) => known[key] !== undefined);
      if (!says) contents[name] = { ...known, file: directory };
    }
  }
  const services = document['services'];
  if (isMapping(services)) {
    for (const [name, service] of Object.entries(services)) {
      if (isMapping(service)) services[name] = sortedByKey(configService(service));
    }
  }
  const sections: { [key: string]: Plain } = {};
  for (const key of ['version', 'name', 'services', 'networks', 'volumes', 'secrets', 'configs']) {
    const value = document[key];
    if (value === undefined && key !== 'services') continue;
    sections[key] = isMapping(value ?? {}) ? sortedByKey(withoutNulls(value ?? {})) : (value ?? null);
  }
  if (sections['version'] !== undefined) sections['version'] = String(sections['version']);
  for (const [key, value] of Object.entries(document)) if (!(key in sections)) sections[key] = value;
  return sections;
}

function configService(service: { [key: string]: Plain }): { [key: string]: Plain } {
  const { depends_on: dependsOn } = service;
  if (!isMapping(dependsOn)) return service;
  const isList = Object.values(dependsOn).every((one) => isMapping(one) && Object.keys(one).length === 0);
  return { ...service, depends_on: isList ? Object.keys(dependsOn) : dependsOn };
}

/** A network without a word is one with nothing but defaults. */
function withoutNulls(section: Plain): { [key: string]: Plain } {
  return Object.fromEntries(
    Object.entries(section as { [key: string]: Plain }).map(([key, value]) => [key, value ?? {}]),
  );
}

function sortedByKey(mapping: { [key: string]: Plain }): { [key: string]: Plain } {
  return Object.fromEntries(Object.entries(mapping).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function isMapping(value: Plain | undefined): value is { [key: string]: Plain } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
