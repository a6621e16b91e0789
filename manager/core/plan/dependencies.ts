import { type Dependency, dependenciesOf } from '../requests/dependency-label.js';
import type { ServiceRecord, SpecVersion, TaskRecord } from '../store/records.js';
import type { Draft } from './draft.js';

/**
 * What the tasks of a spec version still wait for, in words; undefined when they may start.
 *
 * A service waits at its first start. Once one of its tasks has been given a node it waits no more, whatever becomes of
 * what it waited for; but for dependencies that are marked so: for them each new spec version waits anew.
 */
export function waitsFor(draft: Draft, { serviceId, version, serviceLabels }: SpecVersion): string | undefined {
  const dependencies = dependenciesOf(serviceLabels);
  if (dependencies.length === 0) return undefined;
  const begun = draft.view.tasksOfService(serviceId).filter((task) => task.status.state !== 'pending');
  const isFirstStart = begun.length === 0;
  const isNewVersion = !begun.some((task) => task.specVersion === version);
  const unmet = dependencies
    .filter(({ onUpdate }) => isFirstStart || (onUpdate && isNewVersion))
    .flatMap((dependency) => whyNot(draft, dependency) ?? []);
  return unmet.length === 0 ? undefined : `waiting for ${unmet.join('; ')}`;
}

function whyNot(draft: Draft, { service: name, condition }: Dependency): string | undefined {
  const service = draft.view.serviceByName(name);
  if (service === undefined) return `service ${name}, which is not there`;
  const tasks = draft.view.tasksOfService(service.id);
  const running = tasks.filter(
    ({ status, desiredState }) => status.state === 'running' && desiredState === 'running',
  ).length;
  switch (condition) {
    case 'service_started': {
      const hasStarted = wantsNothing(service) || tasks.some((task) => task.status.state === 'running' || hasRun(task));
      return hasStarted ? undefined : `service ${name} to start`;
    }
    case 'service_healthy': {
      const wanted = service.spec.Mode?.Replicated?.Replicas ?? 1;
      return running >= wanted ? undefined : `service ${name} to be healthy (${running} of ${wanted} tasks are)`;
    }
    case 'service_completed_successfully': {
      const [done, wanted] = completions(service, tasks);
      return done >= wanted ? undefined : `service ${name} to complete (${done} of ${wanted} tasks have)`;
    }
  }
}

function wantsNothing({ spec }: ServiceRecord): boolean {
  return spec.Mode?.Replicated?.Replicas === 0;
}

function hasRun({ runningAtMs, status }: TaskRecord): boolean {
  return runningAtMs !== undefined || status.state === 'complete';
}

/** How many tasks have ended well, and how many are to: one in each slot, or on each node. */
function completions({ spec, job }: ServiceRecord, tasks: readonly TaskRecord[]): [number, number] {
  const counted = tasks.filter((task) => job === undefined || task.jobIteration === job.iteration);
  const places = new Set(counted.map(placeOf));
  const done = new Set(counted.filter(({ status }) => status.state === 'complete').map(placeOf));
  const { ReplicatedJob: replicated } = spec.Mode ?? {};
  const wanted =
    replicated !== undefined
      ? (replicated.TotalCompletions ?? replicated.MaxConcurrent ?? 1)
      : (spec.Mode?.Replicated?.Replicas ?? Math.max(1, places.size));
  return [done.size, wanted];
}

function placeOf({ slot, nodeId }: TaskRecord): string {
  return slot > 0 ? String(slot) : `${nodeId ?? ''}/${slot}`;
}
