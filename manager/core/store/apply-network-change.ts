import type { ServiceSpec } from '@apiary/api/model';
import { networksOverlap, parseIpNetwork } from '@apiary/overlay-net/core';
import type { ChangeOf, Guard, Touched } from './change.js';
import { created, type Landing } from './landing.js';
import type { Tables } from './tables.js';

/** Makes one change of a network, and notes in `touched` that it did. */
export function changeNetwork(
  tables: Tables,
  change: ChangeOf<'network-create' | 'network-delete'>,
  landing: Landing,
  touched: Touched,
): void {
  if (change.type === 'network-create') {
    const { network } = change;
    if (tables.networks.get(network.id) !== undefined || isNameTaken(tables, network.spec.Name)) return;
    tables.networks.put({ ...network, meta: created(landing) });
    touched.networks.add(network.id);
    return;
  }
  if (tables.networks.get(change.id) === undefined) return;
  tables.networks.delete(change.id);
  tables.addresses.forget(change.id);
  touched.networks.add(change.id);
}

function isNameTaken(tables: Tables, name: string): boolean {
  return tables.networks.list().some(({ spec }) => spec.Name === name);
}

/** Whether the guard `network-free` holds. */
export function isNetworkFree(tables: Tables, { network }: Extract<Guard, { type: 'network-free' }>): boolean {
  const wanted = network.subnets.map(({ subnet }) => parseIpNetwork(subnet));
  return tables.networks.list().every((other) => {
    if (other.spec.Name === network.spec.Name || (network.vni !== 0 && other.vni === network.vni)) return false;
    return other.subnets.every(({ subnet }) => {
      const taken = parseIpNetwork(subnet);
      return !wanted.some((one) => networksOverlap(one, taken));
    });
  });
}

/** Whether the guard `network-unused` holds: a service that is gone may have tasks that are not. O(services). */
export function isNetworkUnused(tables: Tables, id: string): boolean {
  return (
    tables.addresses.use(id).count === 0 &&
    !tables.services.list().some(({ spec }) => networkTargets(spec).includes(id))
  );
}

/** The networks that a service's spec names for its tasks, in its order: ids, once the spec is in the store. */
export function networkTargets(spec: ServiceSpec): string[] {
  const asked = spec.TaskTemplate.Networks ?? [];
  // Where a service names them as a whole is Docker's older place for it.
  return (asked.length > 0 ? asked : (spec.Networks ?? [])).map(({ Target = '' }) => Target);
}
