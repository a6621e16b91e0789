import type { Service } from '@apiary/api/model';
import type { JobRun, ServiceRecord, TaskRecord, UpdateProgress } from '../store/records.js';
import { type Networks, writtenAddresses } from './network.js';
import { endpointSpecObject, portObject, serviceSpecObject, withDefaults } from './service-spec.js';
import { jobIteration } from './task.js';
import { filled, metaOf, timestampOf } from './timestamp.js';

/** @param options.insertDefaults  fills Docker's defaults into the spec (into `Spec`, never into `PreviousSpec`) */
export function serviceObject(
  record: ServiceRecord,
  networks: Networks,
  options: { insertDefaults?: boolean } = {},
): Service {
  const spec = serviceSpecObject(record.spec);
  return {
    ...metaOf(record),
    Spec: options.insertDefaults === true ? withDefaults(spec) : spec,
    ...(record.previous === undefined ? {} : { PreviousSpec: serviceSpecObject(record.previous.spec) }),
    Endpoint: endpointObject(record, networks),
    ...(record.update === undefined ? {} : { UpdateStatus: updateStatusObject(record.update) }),
    ...(record.job === undefined ? {} : { JobStatus: jobStatusObject(record.job) }),
  };
}

/** Until something is allocated, Docker leaves the endpoint's spec empty; it is there still when nothing is any more. */
function endpointObject({ spec, endpoint }: ServiceRecord, networks: Networks): Service['Endpoint'] {
  const { EndpointSpec: asked } = spec;
  const ports = filled(endpoint?.ports) ?? filled(asked?.Ports);
  const vips = filled(endpoint?.vips);
  if (ports === undefined && vips === undefined && endpoint === undefined) return { Spec: {} };
  return {
    Spec: asked === undefined ? {} : endpointSpecObject(asked),
    ...(ports !== undefined && { Ports: ports.map(portObject) }),
    ...(vips !== undefined && {
      VirtualIPs: vips.flatMap((vip) => {
        const addresses = writtenAddresses(networks, vip);
        if (addresses.length === 0) return [{ NetworkID: vip.networkId }];
        return addresses.map((Addr) => ({ NetworkID: vip.networkId, Addr }));
      }),
    }),
  };
}

function updateStatusObject(update: UpdateProgress): NonNullable<Service['UpdateStatus']> {
  return {
    State: update.state,
    StartedAt: timestampOf(update.startedAtMs),
    ...(update.completedAtMs === undefined ? {} : { CompletedAt: timestampOf(update.completedAtMs) }),
    Message: update.message,
  };
}

function jobStatusObject({ iteration, startedAtMs }: JobRun): NonNullable<Service['JobStatus']> {
  return { JobIteration: jobIteration(iteration), LastExecution: timestampOf(startedAtMs) };
}

/** How far a service is, for `GET /services?status=true`. `tasks` are all of the service's. */
export function serviceStatus(
  { spec, job }: ServiceRecord,
  tasks: readonly TaskRecord[],
): NonNullable<Service['ServiceStatus']> {
  const onEachNode = (spec.Mode?.Global ?? spec.Mode?.GlobalJob) !== undefined;
  // What ended in an earlier run of a job counts no more.
  const counted = job === undefined ? tasks : tasks.filter((task) => task.jobIteration === job.iteration);
  const isComplete = (task: TaskRecord): boolean => task.status.state === 'complete';
  // After a partition, more than one may have ended well in a slot.
  const completions = new Set(counted.filter(isComplete).map(({ slot, nodeId }) => (onEachNode ? nodeId : slot)));
  const wanted = counted.filter((task) => task.desiredState === 'running' && !(job !== undefined && isComplete(task)));
  return {
    RunningTasks: counted.filter((task) => task.status.state === 'running').length,
    DesiredTasks: onEachNode ? wanted.length : desiredReplicas(spec),
    CompletedTasks: job === undefined ? 0 : completions.size,
  };
}

function desiredReplicas({ Mode }: ServiceRecord['spec']): number {
  if (Mode?.ReplicatedJob !== undefined) return Mode.ReplicatedJob.MaxConcurrent ?? 1;
  return Mode?.Replicated?.Replicas ?? 1;
}
