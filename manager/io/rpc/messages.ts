import { isIP } from 'node:net';
import {
  type NodeDescription,
  NodeDescriptionSchema,
  parseHostPort,
  read,
  type TaskStatus,
  TaskStatusSchema,
} from '@apiary/api/model';
import type {
  AssignedContent,
  AttachmentsReport,
  DescriptionUpdate,
  ManagerMessage,
  StatusReport,
} from '@apiary/api/rpc';
import { formatIp, parseIp } from '@apiary/overlay-net/core';
import { ApiaryError, unreachable } from '@apiary/std';
import type { Assignments } from '../../core/dispatch/assignments.js';
import { assignedNetwork, attachmentsOf } from '../../core/dispatch/network-book.js';
import type { NetworkUpdate } from '../../core/dispatch/network-feed.js';
import type { HeldAttachment } from '../../core/requests/index.js';
import type { View } from '../../core/store/view.js';

/** Between the messages of a session and what they mean. What an agent says is checked here, and bounded. */

const MAX_DESCRIPTION_LENGTH = 64 * 1024;
const MAX_STATUS_LENGTH = 64 * 1024;
/** An engine's words are kept up to here: enough to say why, not to fill the log. */
const MAX_WORDS_LENGTH = 4 * 1024;

/** @throws ApiaryError `invalid-argument` that names what is wrong; undefined when the agent says nothing of its node */
export function readDescription(update: DescriptionUpdate): NodeDescription | undefined {
  if (update.descriptionJson === '') return undefined;
  return read(NodeDescriptionSchema, parse(update.descriptionJson, MAX_DESCRIPTION_LENGTH), 'node description');
}

/** The updates of a report that can be read, and what is wrong with the others: one bad update must not cost the rest. */
export function readReport(report: StatusReport): {
  updates: { taskId: string; status: TaskStatus }[];
  faults: { taskId: string; fault: string }[];
} {
  const updates: { taskId: string; status: TaskStatus }[] = [];
  const faults: { taskId: string; fault: string }[] = [];
  for (const { taskId, statusJson } of report.updates) {
    try {
      const status = read(TaskStatusSchema, parse(statusJson, MAX_STATUS_LENGTH), 'task status');
      updates.push({ taskId, status: withBoundedWords(status) });
    } catch (error) {
      if (!(error instanceof ApiaryError)) throw error;
      faults.push({ taskId: bounded(taskId), fault: bounded(error.message) });
    }
  }
  return { updates, faults };
}

const MAX_NAME_LENGTH = 255;
const MAX_ALIASES = 64;

/** What an agent says of containers on networks, without what no name can be. */
export function readAttachments({ attachments }: AttachmentsReport): HeldAttachment[] {
  const isShort = (text: string) => text.length <= MAX_NAME_LENGTH;
  return attachments.flatMap(({ attachmentId: id, aliases, ...attachment }) => {
    const { networkId, address, ipv6Address, containerId, containerName } = attachment;
    if (id === '' || ![id, networkId, address, ipv6Address, containerId, containerName].every(isShort)) return [];
    return [{ ...attachment, id, aliases: aliases.filter(isShort).slice(0, MAX_ALIASES) }];
  });
}

const MAX_NODE_ADDRESSES = 16;

/** The addresses that an agent says its node has, without what is none. */
export function readIpv6Addresses({ ipv6Addresses = '' }: DescriptionUpdate): string {
  const found = ipv6Addresses.split(',', MAX_NODE_ADDRESSES).flatMap((text) => {
    const address = text.includes(':') ? parseIp(text) : undefined;
    return address === undefined ? [] : [formatIp(address)];
  });
  return found.join();
}

type Body = NonNullable<ManagerMessage['body']>;

const NOTHING: Assignments = { complete: false, specs: [], tasks: [], removedTaskIds: [], networks: [] };

/**
 * @param removedContentIds  those that were sent and that no task needs any more
 * @param view               where the specs are that the tasks were made from
 */
export function assignmentsMessage(
  assignments: Assignments | undefined,
  removedContentIds: string[],
  view: Pick<View, 'spec'>,
): Body {
  const { complete, removedTaskIds, networks, ...assigned } = assignments ?? NOTHING;
  const specs = assigned.specs.map((spec) => ({
    serviceId: spec.serviceId,
    specVersion: spec.version,
    serviceName: spec.serviceName,
    serviceLabels: spec.serviceLabels,
    taskTemplateJson: JSON.stringify(spec.template),
    endpointSpecJson: spec.endpoint === undefined ? '' : JSON.stringify(spec.endpoint),
    contentIds: spec.contentIds ?? {},
  }));
  const tasks = assigned.tasks.map((task) => ({
    taskId: task.id,
    serviceId: task.serviceId,
    specVersion: task.specVersion,
    slot: task.slot,
    desiredState: task.desiredState,
    observedState: task.status.state,
    networks: task.networks === undefined ? [] : attachmentsOf(task, view.spec(task.serviceId, task.specVersion)),
    genericResourcesJson: task.genericResources === undefined ? '' : JSON.stringify(task.genericResources),
  }));
  return {
    $case: 'assignments',
    value: {
      complete,
      specs,
      tasks,
      removedTaskIds,
      networks: networks.map(assignedNetwork),
      contents: [],
      removedContentIds,
    },
  };
}

/** What goes before the tasks that need it. */
export function contentsMessage(contents: AssignedContent[]): Body {
  const value = {
    complete: false,
    specs: [],
    tasks: [],
    removedTaskIds: [],
    networks: [],
    contents,
    removedContentIds: [],
  };
  return { $case: 'assignments', value };
}

export function networkMessage(update: NetworkUpdate): NonNullable<ManagerMessage['body']> {
  switch (update.type) {
    case 'endpoints':
      return { $case: 'endpoints', value: update };
    case 'nodes':
      return { $case: 'nodes', value: update };
    case 'ports':
      return { $case: 'publishedPorts', value: update };
    default:
      return unreachable(update);
  }
}

/** The first few thousand characters. */
export function bounded(text: string): string {
  return text.length <= MAX_WORDS_LENGTH ? text : `${text.slice(0, MAX_WORDS_LENGTH)}...`;
}

function withBoundedWords(status: TaskStatus): TaskStatus {
  const result = { ...status, message: bounded(status.message) };
  if (status.err !== undefined) result.err = bounded(status.err);
  return result;
}

function parse(json: string, maxLength: number): unknown {
  if (json.length > maxLength) throw new ApiaryError('invalid-argument', `longer than ${maxLength} characters`);
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new ApiaryError('invalid-argument', 'not JSON', { cause });
  }
}

/** The host of `HOST` or `HOST:PORT`, an IPv4 address as such also where it came in over IPv6. */
export function hostOf(addr: string): string {
  const host = isIP(addr) === 0 ? parseHostPort(addr, 'advertise address').host : addr;
  return host.replace(/^::ffff:(?=\d+\.)/i, '');
}
