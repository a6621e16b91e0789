import type { Service } from '@apiary/api/model';
import type { ServiceRecord, TaskRecord, UpdateProgress } from '../store/records.js';
import { endpointSpecObject, portObject, serviceSpecObject, withDefaults } from './service-spec.js';
import { filled, metaOf, timestampOf } from './timestamp.js';

/** @param options.insertDefaults  fills Docker's defaults into the spec (into `Spec`, never into `PreviousSpec`) */
export function serviceObject(record: ServiceRecord, options: { insertDefaults?: boolean } = {}): Service {
  const spec = serviceSpecObject(record.spec);
  return {
    ...metaOf(record),
    Spec: options.insertDefaults === true ? withDefaults(spec) : spec,
    ...(record.previous === undefined ? {} : { PreviousSpec: serviceSpecObject(record.previous.spec) }),
    Endpoint: endpointObject(record),
    ...(record.update === undefined ? {} : { UpdateStatus: updateStatusObject(record.update) }),
  };
}

/** Until something is published, or the mode is no longer the default, Docker leaves the endpoint's spec empty. */
function endpointObject({ spec }: ServiceRecord): Service['Endpoint'] {
  const { EndpointSpec: endpoint } = spec;
  const ports = filled(endpoint?.Ports);
  if (endpoint === undefined || (ports === undefined && endpoint.Mode !== 'dnsrr')) return { Spec: {} };
  return { Spec: endpointSpecObject(endpoint), ...(ports === undefined ? {} : { Ports: ports.map(portObject) }) };
}

function updateStatusObject(update: UpdateProgress): NonNullable<Service['UpdateStatus']> {
  return {
    State: update.state,
    StartedAt: timestampOf(update.startedAtMs),
    ...(update.completedAtMs === undefined ? {} : { CompletedAt: timestampOf(update.completedAtMs) }),
    Message: update.message,
  };
}

/** How far a service is, for `GET /services?status=true`. `tasks` are all of the service's. */
export function serviceStatus(
  { spec }: ServiceRecord,
  tasks: readonly TaskRecord[],
): NonNullable<Service['ServiceStatus']> {
  const job = spec.Mode?.ReplicatedJob ?? spec.Mode?.GlobalJob;
  const global = spec.Mode?.Global ?? spec.Mode?.GlobalJob;
  const wanted = tasks.filter((task) => task.desiredState === 'running' || task.desiredState === 'complete');
  return {
    RunningTasks: tasks.filter((task) => task.status.state === 'running').length,
    DesiredTasks: global === undefined ? desiredReplicas(spec) : wanted.length,
    CompletedTasks: job === undefined ? 0 : tasks.filter((task) => task.status.state === 'complete').length,
  };
}

function desiredReplicas({ Mode }: ServiceRecord['spec']): number {
  if (Mode?.ReplicatedJob !== undefined) return Mode.ReplicatedJob.MaxConcurrent ?? 1;
  return Mode?.Replicated?.Replicas ?? 1;
}
