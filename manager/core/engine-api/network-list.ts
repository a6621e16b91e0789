import { ApiaryError } from '@apiary/std';
import { networkTargets } from '../store/apply-network-change.js';
import type { NetworkRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { type Filters, labelsMatch } from './filters.js';
import { isOverlay } from './network.js';

/**
 * The network of the cluster that a user may mean by an id, a name, or the beginning of an id.
 *
 * @param options.withEngines  also those that stand for the engine's own
 * @throws ApiaryError `not-found`; `invalid-argument` when several match
 */
export function findNetwork(view: View, reference: string, options: { withEngines?: boolean } = {}): NetworkRecord {
  const networks = view.networks().filter((network) => options.withEngines === true || isOverlay(network));
  const exact = networks.find(({ id }) => id === reference) ?? networks.find(({ spec }) => spec.Name === reference);
  if (exact !== undefined) return exact;
  const [first, ...others] = reference === '' ? [] : networks.filter(({ id }) => id.startsWith(reference));
  if (first === undefined) throw new ApiaryError('not-found', `network ${reference} not found`);
  if (others.length === 0) return first;
  const words = `network ${reference} is ambiguous (${others.length + 1} matches found based on ID prefix)`;
  throw new ApiaryError('invalid-argument', words);
}

export const NETWORK_FILTERS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type', 'idOrName'] as const;

/**
 * `GET /networks`: those of the cluster. `name` and `id` match anywhere; the engine filters its own by the same keys.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function filterNetworks(view: View, filters: Filters): NetworkRecord[] {
  for (const value of filters.get('type') ?? []) {
    if (!['builtin', 'custom'].includes(value))
      throw new ApiaryError('invalid-argument', `invalid filter: 'type'='${value}'`);
  }
  const dangling = danglingOf(filters);
  return view.networks().filter((network) => {
    const { id, spec } = network;
    if (!isOverlay(network)) return false;
    if (dangling !== undefined && dangling !== isDangling(view, network)) return false;
    return (
      among(filters, 'driver', (value) => value === 'overlay') &&
      among(filters, 'id', (value) => id.includes(value)) &&
      among(filters, 'name', (value) => spec.Name.includes(value)) &&
      among(filters, 'idOrName', (value) => value === id || value === spec.Name) &&
      among(filters, 'scope', (value) => value === 'swarm') &&
      among(filters, 'type', (value) => value === 'custom') &&
      labelsMatch(filters, 'label', spec.Labels)
    );
  });
}

function danglingOf(filters: Filters): boolean | undefined {
  const [value, ...others] = filters.get('dangling') ?? [];
  if (value === undefined) return undefined;
  if (others.length === 0 && ['true', '1'].includes(value)) return true;
  if (others.length === 0 && ['false', '0'].includes(value)) return false;
  const words = `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`;
  throw new ApiaryError('invalid-argument', words);
}

/** Whether nobody uses a network that was made to be used. */
export function isDangling(view: View, { id, kind }: NetworkRecord): boolean {
  if (kind !== 'overlay' || view.attachments().some(({ networkId }) => networkId === id)) return false;
  return !view.services().some(({ spec }) => networkTargets(spec).includes(id));
}

function among(filters: Filters, key: string, matches: (value: string) => boolean): boolean {
  const values = filters.get(key);
  return values === undefined || values.length === 0 || values.some(matches);
}
