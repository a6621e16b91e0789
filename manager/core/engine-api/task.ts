import type { Task, TaskStatus } from '@apiary/api/model';
import type { SpecVersion, TaskRecord } from '../store/records.js';
import { taskTemplateObject } from './service-spec.js';
import { filled, metaOf, timestampOf } from './timestamp.js';

/** @param spec  the spec version that the task was made from */
export function taskObject(record: TaskRecord, spec: SpecVersion): Task {
  return {
    ...metaOf(record),
    Labels: {},
    Spec: taskTemplateObject(spec.template),
    ServiceID: record.serviceId,
    Slot: filled(record.slot),
    NodeID: record.nodeId,
    Status: statusObject(record.status),
    DesiredState: record.desiredState,
  };
}

function statusObject(status: TaskStatus): Task['Status'] {
  const { container } = status;
  return {
    Timestamp: timestampOf(status.atMs),
    State: status.state,
    Message: filled(status.message),
    Err: filled(status.err),
    ...(container === undefined
      ? {}
      : { ContainerStatus: { ContainerID: container.id, PID: container.pid, ExitCode: container.exitCode } }),
    PortStatus: {
      Ports: filled(status.ports)?.map((port) => ({
        Protocol: port.protocol,
        TargetPort: port.targetPort,
        PublishedPort: port.publishedPort,
        PublishMode: 'host',
      })),
    },
  };
}
