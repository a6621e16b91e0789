import type { DesiredState, Task } from '@apiary/api/model';
import type { Refusal } from '../plan/pending-reasons.js';
import type { SpecVersion, TaskRecord } from '../store/records.js';
import { attachmentObjects, ingressAttachment, type Networks } from './network.js';
import { taskTemplateObject } from './service-spec.js';
import { filled, metaOf, timestampOf } from './timestamp.js';

/**
 * @param spec     the spec version that the task was made from
 * @param refusal  why no node takes it: its reasons are told beside Docker's words, and in their place where those do
 *                 not say what there is too little of
 */
export function taskObject(record: TaskRecord, spec: SpecVersion, networks: Networks, refusal?: Refusal): Task {
  const attachments = [
    ...(isPublished(spec) ? ingressAttachment(networks, record.status.gatewayAddress) : []),
    ...attachmentObjects(networks, record.networks ?? []),
  ];
  return {
    ...metaOf(record),
    Labels: {},
    Spec: taskTemplateObject(spec.template),
    ServiceID: record.serviceId,
    Slot: filled(record.slot),
    NodeID: record.nodeId,
    Status: { ...statusObject(record), ...refusalObject(refusal) },
    DesiredState: shownDesiredState(record),
    ...(attachments.length > 0 && { NetworksAttachments: attachments }),
    GenericResources: filled(record.genericResources),
    ...(record.jobIteration !== undefined && { JobIteration: jobIteration(record.jobIteration) }),
  };
}

function isPublished({ endpoint }: SpecVersion): boolean {
  return (endpoint?.Ports ?? []).some(({ PublishMode = 'ingress' }) => PublishMode === 'ingress');
}

/** What a task should come to: one of a job is to run until it has ended well, and Docker says so. */
export function shownDesiredState({ desiredState, jobIteration }: TaskRecord): DesiredState {
  return jobIteration !== undefined && desiredState === 'running' ? 'complete' : desiredState;
}

/** Docker counts from 0, and leaves that out. */
export function jobIteration(iteration: number): { Index?: number } {
  return iteration === 0 ? {} : { Index: iteration };
}

function refusalObject(refusal: Refusal | undefined): Pick<Task['Status'], 'Err' | 'Reasons'> {
  if (refusal === undefined || refusal.reasons.length === 0) return {};
  const { reasons: Reasons, isVague } = refusal;
  return { Reasons, ...(isVague && { Err: `no suitable node (${Reasons.join('; ')})` }) };
}

function statusObject({ status, endReason }: TaskRecord): Task['Status'] {
  const { container } = status;
  return {
    Timestamp: timestampOf(status.atMs),
    State: status.state,
    Message: filled(status.message),
    Err: filled(status.err ?? endReason),
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
