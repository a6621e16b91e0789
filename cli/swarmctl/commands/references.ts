import type { Filters } from '@apiary/api/client';
import type { ServiceSpec } from '@apiary/api/model';
import type { ParsedFlags } from '../command-line/index.js';
import { applyReferences, askedReferences } from '../spec/index.js';
import type { Context } from './context.js';

/**
 * Looks up what the flags name of networks, secrets and configs, and puts it into the spec.
 *
 * @throws SpecError, and what the daemon says of a network that is not there
 */
export async function withReferences({ client }: Context, spec: ServiceSpec, given: ParsedFlags): Promise<ServiceSpec> {
  const { networks, secrets, configs } = askedReferences(given);
  const found = { networks: new Map<string, string>(), secrets: new Map(), configs: new Map() };
  for (const name of networks) {
    const { Id: id } = await client.network(name, { scope: 'swarm' });
    found.networks.set(name, id);
  }
  found.secrets = await idsOf(secrets, (filters) => client.secrets.list(filters));
  found.configs = await idsOf(configs, (filters) => client.configs.list(filters));
  applyReferences(spec, given, found);
  return spec;
}

/** Ids by name, of those that there are. */
async function idsOf(
  names: string[],
  list: (filters: Filters) => Promise<{ ID: string; Spec: { Name?: string | undefined } }[]>,
): Promise<Map<string, string>> {
  if (names.length === 0) return new Map();
  const objects = await list({ name: names });
  return new Map(objects.map(({ ID, Spec }) => [Spec.Name ?? '', ID]));
}
