import { type PortConfig, parseHostPort, type ServiceSpec } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { Guard } from '../store/change.js';
import { portConflict } from '../store/published-ports.js';
import type { NetworkRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { dataPathPortOf } from './network-settings.js';
import { invalid, quoted, unhonoured } from './refusal.js';

/**
 * The spec with its tasks' networks as ids, in the one place where they are looked for: a client may name them, and may put
 * them where they were put before Docker 1.13.
 *
 * @throws ApiaryError `not-found` for a network that is not there, `invalid-argument` for one that no task can be put on
 */
export function withNetworkIds(view: View, spec: ServiceSpec): ServiceSpec {
  const { Networks: ofService = [], ...rest } = spec;
  const asked = spec.TaskTemplate.Networks ?? [];
  const networks = asked.length > 0 ? asked : ofService;
  if (networks.length === 0) return spec;
  const resolved: typeof networks = [];
  for (const attachment of networks) {
    const { id } = networkNamed(view, attachment.Target ?? '');
    const named = resolved.find(({ Target }) => Target === id);
    // A task has one place on a network, by all the names that were asked for.
    if (named === undefined) resolved.push({ ...attachment, Target: id });
    else named.Aliases = [...new Set([...(named.Aliases ?? []), ...(attachment.Aliases ?? [])])];
  }
  return { ...rest, TaskTemplate: { ...spec.TaskTemplate, Networks: resolved } };
}

function networkNamed(view: View, reference: string): NetworkRecord {
  const network = view.network(reference) ?? view.networks().find(({ spec }) => spec.Name === reference);
  if (network === undefined) throw new ApiaryError('not-found', `network ${reference} not found`);
  if (network.kind !== 'ingress') return network;
  const name = quoted(network.spec.Name);
  throw invalid(`Service cannot be explicitly attached to the ingress network ${name}`);
}

/**
 * Refuses what this version does not honour of the networks that a service's tasks are to be on.
 *
 * @param spec  with its networks as ids
 * @throws ApiaryError `unimplemented`
 */
export function refuseUnhonouredNetworks(view: View, spec: ServiceSpec): void {
  const attachments = spec.TaskTemplate.Networks ?? [];
  for (const [i, { Target = '', Aliases = [], DriverOpts = {} }] of attachments.entries()) {
    const path = `TaskTemplate.Networks[${i}]`;
    if (Object.keys(DriverOpts).length > 0) throw unhonoured(`${path}.DriverOpts`);
    const network = view.network(Target);
    if (network === undefined) continue;
    const { kind, spec: asked } = network;
    const name = `${path}: network ${asked.Name}`;
    if (kind !== 'overlay') {
      // Docker's managers put the host's network beside others: its engine then refuses each task.
      if (kind !== 'host') refuseIngress(spec, name);
      if (attachments.length > 1 && kind !== 'host')
        throw unhonoured(`${name} beside others`, "put tasks on it alone: it is the engine's own");
      if (Aliases.length > 0)
        throw unhonoured(`${name} with Aliases`, "nobody finds anybody by name on the engine's own");
      continue;
    }
    if (asked.EnableIPv6 === true && network.subnets.every(({ subnet }) => !subnet.includes(':')))
      throw unhonoured(`${name} without an IPv6 subnet`, OUTDATED);
  }
}

/** What comes in on any node is led to tasks over the gateway networks. */
function refuseIngress(spec: ServiceSpec, name: string): void {
  for (const [i, { PublishMode = 'ingress' }] of (spec.EndpointSpec?.Ports ?? []).entries()) {
    if (PublishMode === 'host') continue;
    const port = `EndpointSpec.Ports[${i}].PublishMode ${quoted(PublishMode)}`;
    throw unhonoured(`${port} with ${name}`, "publish nothing: its ports are the host's own or nobody's");
  }
}

const OUTDATED = 'it was made when networks could not have IPv6: remove it, and make it anew';

/**
 * Under what a spec may land: its networks are there, and its ports are nobody else's.
 *
 * @param id  of the service that the spec is for, when it is there already
 * @throws ApiaryError `invalid-argument` in SwarmKit's words, `not-found` for a network that is gone
 */
export function checkEndpoint(view: View, spec: ServiceSpec, id?: string): Guard[] {
  const ports = spec.EndpointSpec?.Ports ?? [];
  refuseOwnPorts(view, ports);
  const conflict = portConflict(view.services(), ports, id);
  if (conflict !== undefined) {
    const { holder, publishedPort, mode } = conflict;
    const how = mode === 'ingress' ? 'an ingress port' : 'a host-published port';
    const who = `service '${holder.spec.Name}' (${holder.id})`;
    throw invalid(`port '${publishedPort}' is already in use by ${who} as ${how}`);
  }
  const ids = new Set((spec.TaskTemplate.Networks ?? []).map(({ Target = '' }) => Target));
  const guards: Guard[] = [];
  for (const id of ids) {
    // Of a spec that a service had before, a network may have been removed since.
    if (view.network(id) === undefined) throw new ApiaryError('not-found', `network ${id} not found`);
    guards.push({ type: 'unchanged', kind: 'network', id });
  }
  const published = ports.filter(({ PublishedPort = 0 }) => PublishedPort !== 0);
  if (published.length > 0)
    guards.push({ type: 'ports-free', ports: published, ...(id !== undefined && { exceptId: id }) });
  return guards;
}

/**
 * Every node leads what comes to a published port to a task, and would do so with what nodes send to managers, or each
 * other: no node could get a session any more, and so no node would hear that the port is published no longer.
 */
function refuseOwnPorts(view: View, ports: readonly PortConfig[]): void {
  if (ports.length === 0) return;
  const managers = view.nodes().flatMap(({ managerAddr }) => {
    return managerAddr === undefined ? [] : [parseHostPort(managerAddr, 'manager address').port];
  });
  const dataPath = dataPathPortOf(view.cluster());
  for (const { PublishedPort: port = 0, Protocol = 'tcp', PublishMode = 'ingress' } of ports) {
    const isManagers = Protocol === 'tcp' && PublishMode === 'ingress' && managers.includes(port);
    // Encrypted networks have the next one.
    const isDataPath = Protocol === 'udp' && (port === dataPath || port === dataPath + 1);
    if (!isManagers && !isDataPath) continue;
    const who = isManagers ? 'the managers of the swarm' : 'the networks of the swarm';
    throw invalid(`port '${port}' is already in use by ${who}: publish another`);
  }
}
