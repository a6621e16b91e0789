import { isTerminal, rankOf } from '@apiary/api/model';
import type { NodeRecord, ServiceRecord, TaskRecord, View } from '@apiary/manager/core';
import { lackOfNetworks } from './network-oracle.js';
import type { SimulatedCluster } from './simulated-cluster.js';

/** What is not yet as it was asked for, in words; undefined once all of it is. */
export function lackOf(cluster: SimulatedCluster): string | undefined {
  const { view } = cluster;
  if (view === undefined) return 'nobody leads';
  for (const node of view.nodes()) {
    if (cluster.hostOf(node.id) === undefined) continue;
    if (node.status.state !== 'ready') return `node ${node.id} is ${node.status.state}`;
    if (node.role !== node.spec.Role) return `node ${node.id} is a ${node.role} and is to be a ${node.spec.Role}`;
  }
  const expected: string[] = [];
  for (const service of view.services()) {
    const lack = service.job === undefined ? lackOfService(view, service) : lackOfJob(view, service);
    if (lack !== undefined) return `${service.spec.Name}: ${lack} (${service.update?.state})`;
    for (const task of view.tasksOfService(service.id)) if (isLive(task)) expected.push(task.id);
  }
  const running = cluster.hosts.flatMap(({ engine }) => engine.running.map(({ taskId }) => taskId)).sort();
  const surplus = running.filter((id) => !expected.includes(id));
  if (surplus.length > 0) return `nobody asked for ${surplus.map((id) => cluster.oracle.nameOf(id)).join(', ')}`;
  for (const task of view.tasks()) {
    if (view.service(task.serviceId) === undefined) return `task ${task.id} is of no service`;
    if (!isLive(task) && !isTerminal(task.status.state)) return `${cluster.oracle.nameOf(task.id)} does not end`;
    if (isLive(task) && !running.includes(task.id)) return `${cluster.oracle.nameOf(task.id)} does not really run`;
  }
  return lackOfManagers(cluster, view) ?? lackOfNetworks(cluster.hosts, view);
}

function lackOfService(view: View, service: ServiceRecord): string | undefined {
  const { update, spec } = service;
  if (update?.state === 'updating' || update?.state === 'rollback_started') return 'its update does not end';
  const live = view.tasksOfService(service.id).filter(isLive);
  const running = live.filter(({ status, desiredState }) => status.state === 'running' && desiredState === 'running');
  const replicas = spec.Mode?.Replicated?.Replicas ?? nodesOf(view).length;
  const hasHostPorts = (spec.EndpointSpec?.Ports ?? []).some(({ PublishMode }) => PublishMode === 'host');
  const wanted = hasHostPorts ? Math.min(replicas, nodesOf(view).length) : replicas;
  if (running.length !== wanted) return `${running.length} of ${wanted} run`;
  if (live.length !== replicas) return `${live.length} of ${replicas} are meant to run`;
  const image = spec.TaskTemplate.ContainerSpec?.Image;
  const stale = running.find((task) => {
    const { template } = view.spec(task.serviceId, task.specVersion);
    return template.ContainerSpec?.Image !== image;
  });
  return stale && `task ${stale.id} is of an old version`;
}

/** One whose agent was never heard of runs nothing: a join that was cut short made it, and it goes by itself in time. */
function nodesOf(view: View): NodeRecord[] {
  return view.nodes().filter(({ description }) => description !== undefined);
}

function lackOfJob(view: View, { id, spec, job }: ServiceRecord): string | undefined {
  const tasks = view.tasksOfService(id).filter(({ jobIteration }) => jobIteration === job?.iteration);
  const done = tasks.filter(({ status }) => status.state === 'complete');
  const isReplicated = spec.Mode?.ReplicatedJob !== undefined;
  const places = new Set(done.map(({ slot, nodeId }) => (isReplicated ? slot : nodeId)));
  const { TotalCompletions, MaxConcurrent = 1 } = spec.Mode?.ReplicatedJob ?? {};
  const wanted = isReplicated ? (TotalCompletions ?? MaxConcurrent) : nodesOf(view).length;
  return places.size === wanted ? undefined : `${places.size} of ${wanted} are done`;
}

/** Who takes part in the log is who is a manager on record, and all of them have the same state. */
function lackOfManagers({ managers, leader }: SimulatedCluster, view: View): string | undefined {
  const onRecord = view
    .nodes()
    .filter(({ role }) => role === 'manager')
    .map(({ id }) => id)
    .sort();
  const members = leader?.replica.members;
  const voters = [...(members?.voters ?? [])].sort();
  if (`${voters}` !== `${onRecord}`) return `the log has the members ${voters}, and the state ${onRecord}`;
  const behind = managers.find(({ replica }) => replica.view.appliedIndex !== view.appliedIndex);
  if (behind !== undefined) return `manager ${behind.nodeId} is behind`;
  if (managers.length !== onRecord.length) return `${managers.length} managers run, and ${onRecord.length} are to`;
  return undefined;
}

function isLive(task: TaskRecord): boolean {
  return rankOf(task.desiredState) <= rankOf('running') && !isTerminal(task.status.state);
}
