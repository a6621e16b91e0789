import { isTerminal, rankOf } from '@apiary/api/model';
import type { NetworkAddress, NetworkRecord, TaskRecord, View } from '@apiary/manager/core';
import type { AssignedNetworks } from '@apiary/worker/core';
import { demand } from '../raft/oracle.js';
import type { HollowContainer, HollowEngine } from './hollow-engine.js';
import type { Host } from './host.js';

/** No address is two tasks', nor a task's and a service's; no port is two services'. */
export function checkAddresses(view: View): void {
  const holders = new Map<string, string>();
  const hold = (holder: string, what: string): void => {
    const other = holders.get(what);
    demand(other === undefined, `${holder} and ${other} both have ${what}`);
    holders.set(what, holder);
  };
  for (const { spec, endpoint } of view.services()) {
    for (const name of (endpoint?.vips ?? []).flatMap(namesOf)) hold(`service ${spec.Name}`, name);
    for (const { PublishedPort = 0, PublishMode, Protocol } of endpoint?.ports ?? []) {
      if (PublishedPort !== 0 && PublishMode !== 'host')
        hold(`service ${spec.Name}`, `port ${PublishedPort}/${Protocol ?? 'tcp'}`);
    }
  }
  for (const { id, networks = [], status } of view.tasks()) {
    if (isTerminal(status.state)) continue;
    for (const place of networks) {
      for (const name of namesOf(place)) hold(`task ${id}`, name);
      const network = view.network(place.networkId);
      demand(network !== undefined, `task ${id} is on network ${place.networkId}, which is gone`);
      demand(network.kind !== 'overlay' || place.address !== '', `task ${id} has no address on ${network.spec.Name}`);
    }
  }
}

/** Of both families; none on a network of the engine's. */
function namesOf({ networkId, address, ipv6Address = '' }: NetworkAddress): string[] {
  return [address, ipv6Address].filter((each) => each !== '').map((each) => `address ${each} of network ${networkId}`);
}

/**
 * A container that is starting has addresses that no other has which really runs.
 *
 * @param isLost  whether nobody could know that a task still runs
 */
export function checkRunningAddresses(
  engines: readonly HollowEngine[],
  container: HollowContainer,
  isLost: (taskId: string) => boolean,
): void {
  const taken = new Set((container.networks ?? []).flatMap(namesOf));
  if (taken.size === 0) return;
  for (const { host, running } of engines) {
    for (const other of running) {
      if (other.id === container.id || isLost(other.taskId)) continue;
      const shared = other.networks?.find((place) => namesOf(place).some((name) => taken.has(name)));
      demand(
        shared === undefined,
        `${container.name} starts, and ${other.name} on ${host} has its address, ${shared?.address}`,
      );
    }
  }
}

/** What hosts know of networks that is not, or that is and they do not know; undefined once there is no such thing. */
export function lackOfNetworks(hosts: readonly Host[], view: View): string | undefined {
  const overlays = view.networks().filter(({ kind }) => kind === 'overlay');
  for (const network of overlays) {
    const expected = holdersOf(view, network);
    const actual = [...view.addresses(network.id).owners.values()].sort();
    if (`${actual}` !== `${expected}`)
      return `of network ${network.spec.Name}, ${actual} have addresses, not ${expected}`;
  }
  for (const task of view.tasks().filter(isThere)) {
    const { template } = view.spec(task.serviceId, task.specVersion);
    const missing = template.Networks?.find(
      ({ Target }) => !task.networks?.some((place) => place.networkId === Target),
    );
    if (missing !== undefined) return `task ${task.id} is not on network ${missing.Target}`;
  }
  for (const host of hosts) {
    const state = host.network?.state;
    if (state === undefined) return `${host.name} does not know of networks`;
    const lack = lackOfHost(host, state, overlays, view);
    if (lack !== undefined) return `${host.name}: ${lack}`;
  }
  return undefined;
}

function lackOfHost(
  { nodeId = '' }: Host,
  state: AssignedNetworks,
  overlays: readonly NetworkRecord[],
  view: View,
): string | undefined {
  for (const task of view.tasksOfNode(nodeId).filter(isThere)) {
    const unknown = task.networks?.find(({ networkId }) => !state.networks.has(networkId));
    if (unknown !== undefined) return `task ${task.id} is on network ${unknown.networkId}, which nobody told it of`;
  }
  const removed = [...state.networks.keys()].find((id) => view.network(id) === undefined);
  if (removed !== undefined) return `network ${removed} was removed, and nobody told it so`;
  for (const [networkId, { endpoints, services }] of state.endpointSets) {
    const network = overlays.find(({ id }) => id === networkId);
    if (network === undefined) continue;
    const known = [...endpoints.values()].map((each) => `${each.taskId} ${each.nodeId} ${each.address} ${each.live}`);
    const lack = difference(`endpoints of ${network.spec.Name}`, known, endpointsOf(view, networkId));
    if (lack !== undefined) return lack;
    const named = [...services.values()].map(({ serviceId, vip }) => `${serviceId} ${vip}`);
    const lackOfNames = difference(`services on ${network.spec.Name}`, named, servicesOn(view, networkId));
    if (lackOfNames !== undefined) return lackOfNames;
  }
  const ports = [...state.publishedPorts.values()].map(
    ({ publishedPort, backends }) => `${publishedPort} ${backends.map(({ taskId }) => taskId).sort()}`,
  );
  return difference('ports', ports, publishedPortsOf(view));
}

function difference(what: string, known: string[], expected: string[]): string | undefined {
  const [is, should] = [known.sort().join(', '), expected.sort().join(', ')];
  return is === should ? undefined : `${what}: ${is || 'none'}, not ${should || 'none'}`;
}

function holdersOf(view: View, { id }: NetworkRecord): string[] {
  const isOn = (places: readonly { networkId: string; address: string }[] = []): boolean =>
    places.some(({ networkId, address }) => networkId === id && address !== '');
  return [
    ...view.tasks().filter((task) => !isTerminal(task.status.state) && isOn(task.networks)),
    ...view.services().filter(({ endpoint }) => isOn(endpoint?.vips)),
  ]
    .map((holder) => holder.id)
    .sort();
}

function endpointsOf(view: View, networkId: string): string[] {
  return view
    .tasks()
    .filter(isThere)
    .flatMap((task) => {
      const place = task.networks?.find((each) => each.networkId === networkId);
      return place === undefined ? [] : `${task.id} ${task.nodeId} ${place.address} ${isLive(task)}`;
    });
}

function servicesOn(view: View, networkId: string): string[] {
  return view.services().flatMap(({ id, spec, endpoint }) => {
    if (!spec.TaskTemplate.Networks?.some(({ Target }) => Target === networkId)) return [];
    const vip = endpoint?.vips.find((each) => each.networkId === networkId)?.address ?? '';
    return `${id} ${spec.EndpointSpec?.Mode === 'dnsrr' ? '' : vip}`;
  });
}

function publishedPortsOf(view: View): string[] {
  return view.services().flatMap(({ id, endpoint }) =>
    (endpoint?.ports ?? [])
      .filter(({ PublishMode }) => PublishMode !== 'host')
      .map(({ PublishedPort }) => {
        const backends = view.tasksOfService(id).filter(isLive);
        return `${PublishedPort} ${backends.map((task) => task.id).sort()}`;
      }),
  );
}

function isThere(task: TaskRecord): boolean {
  return !isTerminal(task.status.state) && task.nodeId !== undefined && rankOf(task.status.state) >= rankOf('assigned');
}

function isLive({ status, desiredState }: TaskRecord): boolean {
  return status.state === 'running' && rankOf(desiredState) <= rankOf('running');
}
