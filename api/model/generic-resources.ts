import { ApiaryError } from '@apiary/std';
import type { GenericResource } from './service-spec.js';

/** A kind of resource that only its users know, on a node: a number of equal pieces, or pieces that have names. */
export type GenericSupply = { kind: string } & ({ count: number } | { names: readonly string[] });

/**
 * Reads what a node is said to have, one `KIND=VALUE` a term: a number of pieces, or the name of one. Source of the
 * syntax: SwarmKit's api/genericresource, as behind dockerd's `--node-generic-resource`.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function readGenericResources(terms: readonly string[]): GenericResource[] {
  const values = new Map<string, string[]>();
  for (const term of terms) {
    const [kind = '', value = '', ...more] = term.split('=').map((part) => part.trim());
    if (kind === '' || value === '' || more.length > 0) throw unreadable(`incorrect term ${term}, expected KIND=VALUE`);
    values.set(kind, [...(values.get(kind) ?? []), value]);
  }
  return [...values].flatMap(([Kind, given]): GenericResource[] => {
    const numbers = given.filter((value) => /^[+-]?\d+$/.test(value));
    if (numbers.length === 0) return given.map((Value) => ({ NamedResourceSpec: { Kind, Value } }));
    const Value = Number(numbers[0]);
    if (given.length > 1) throw unreadable(`${Kind}: a number stands alone, and names come without one`);
    if (Value < 0 || !Number.isSafeInteger(Value)) throw unreadable(`${Kind}: expected 0 or more, got ${numbers[0]}`);
    return [{ DiscreteResourceSpec: { Kind, Value } }];
  });
}

function unreadable(why: string): ApiaryError {
  return new ApiaryError('invalid-argument', `could not parse GenericResource: ${why}`);
}

/** What a list of resources comes to, by kind. Of a kind in both forms the names count, as with SwarmKit's. */
export function genericSupply(resources: readonly GenericResource[]): Map<string, GenericSupply> {
  const supply = new Map<string, GenericSupply>();
  for (const { NamedResourceSpec: named, DiscreteResourceSpec: counted } of resources) {
    const kind = named?.Kind ?? counted?.Kind ?? '';
    const known = supply.get(kind);
    const names = known !== undefined && 'names' in known ? known.names : [];
    if (named !== undefined) supply.set(kind, { kind, names: [...names, named.Value ?? ''] });
    else if (names.length === 0) {
      const before = known !== undefined && 'count' in known ? known.count : 0;
      supply.set(kind, { kind, count: before + (counted?.Value ?? 0) });
    }
  }
  return supply;
}

/** The environment by which a container learns what was claimed for it: `DOCKER_RESOURCE_GPU=UUID1,UUID2`, as with Docker. */
export function genericResourceEnv(claimed: readonly GenericResource[]): string[] {
  return [...genericSupply(claimed).values()].map((supply) => {
    const value = 'names' in supply ? supply.names.join() : String(supply.count);
    return `DOCKER_RESOURCE_${supply.kind.toUpperCase()}=${value}`;
  });
}
