import type { EndpointSet, NetworkState } from './network-state.js';

/** Who was on each network, by its id, in a version of its set. */
export type KnownPeers = ReadonlyMap<string, { set: EndpointSet; version: number; addresses: ReadonlySet<string> }>;

/**
 * Who is on the networks. What is known already of a set that has not changed since is taken over.
 *
 * @param known  from an earlier call
 */
export function knownPeers({ endpointSets }: NetworkState, known: KnownPeers): KnownPeers {
  return new Map(
    Array.from(endpointSets, ([networkId, set]) => {
      const held = known.get(networkId);
      if (held?.set === set && held.version === set.version) return [networkId, held];
      const all = [...set.endpoints.values()].flatMap(({ address, ipv6Address = '' }) => [address, ipv6Address]);
      return [networkId, { set, version: set.version, addresses: new Set(all.filter((each) => each !== '')) }];
    }),
  );
}

/**
 * Who has left a network since, for those here who are on it and may still talk to them: addresses by the file that stands
 * for a network namespace. Of a network that this host is no longer on nothing is told.
 */
export function lostPeers(before: KnownPeers, now: KnownPeers, { tasks }: NetworkState): Map<string, Set<string>> {
  const lost = new Map<string, string[]>();
  for (const [networkId, { addresses }] of before) {
    const left = now.get(networkId)?.addresses;
    if (left === undefined || left === addresses) continue;
    lost.set(
      networkId,
      [...addresses].filter((address) => !left.has(address)),
    );
  }
  const concerned = new Map<string, Set<string>>();
  for (const { namespacePath, attachments } of tasks.values()) {
    const gone = attachments.flatMap(({ networkId }) => lost.get(networkId) ?? []);
    if (namespacePath === undefined || gone.length === 0) continue;
    concerned.set(namespacePath, new Set([...(concerned.get(namespacePath) ?? []), ...gone]));
  }
  return concerned;
}
