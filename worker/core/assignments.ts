import {
  type DesiredState,
  type EndpointSpec,
  type GenericResource,
  registryAuthId,
  TASK_STATES,
  type TaskState,
  type TaskTemplate,
} from '@apiary/api/model';
import type { AssignedNetwork, TaskAttachment } from '@apiary/overlay-net/core';
import { ApiaryError, messageOf } from '@apiary/std';

/** A task that this node should have, with all that it takes to run it. */
export interface AssignedTask {
  id: string;
  serviceId: string;
  serviceName: string;
  serviceLabels: Readonly<Record<string, string>>;
  /** 0 for a task of a global service. */
  slot: number;
  desiredState: DesiredState;
  /** How far the managers knew it to be when they last named it. */
  observedState: TaskState;
  template: TaskTemplate;
  endpoint?: EndpointSpec;
  /** By `secret/NAME` or `config/NAME`, in small letters, the version of each name that the template follows. */
  contentIds?: Readonly<Record<string, string>>;
  /** What of this node's generic resources is the task's. */
  genericResources?: GenericResource[];
  /** The networks that it is on, in the order of its interfaces. */
  networks?: AttachedNetwork[];
}

/** A task's place on a network. */
export interface AttachedNetwork extends TaskAttachment {
  name: string;
  /** `host`, `none` or `bridge` for one of the engine's own; else empty. */
  engineNetwork: string;
}

/** A message of the managers, complete or a delta: the shape of `Assignments` in api/proto. */
export interface AssignmentsMessage {
  complete: boolean;
  specs: {
    serviceId: string;
    specVersion: number;
    serviceName: string;
    serviceLabels: Record<string, string>;
    taskTemplateJson: string;
    endpointSpecJson: string;
    contentIds: Record<string, string>;
  }[];
  tasks: {
    taskId: string;
    serviceId: string;
    specVersion: number;
    slot: number;
    desiredState: string;
    observedState: string;
    genericResourcesJson: string;
    networks: TaskAttachment[];
  }[];
  removedTaskIds: string[];
  networks: AssignedNetwork[];
  contents: { contentId: string; sealed: Uint8Array; isTemplate: boolean }[];
  removedContentIds: string[];
}

/** A version of a secret or a config, or what an image is pulled with, as it came: sealed. */
export interface AssignedContent {
  sealed: Uint8Array;
  /** It is expanded for each task. */
  isTemplate: boolean;
}

interface AssignedSpec {
  serviceName: string;
  serviceLabels: Readonly<Record<string, string>>;
  template: TaskTemplate;
  endpoint?: EndpointSpec;
  contentIds: Readonly<Record<string, string>>;
}

interface HeldTask {
  specKey: string;
  registryAuthId: string;
  task: AssignedTask;
}

const DESIRED_STATES: Readonly<Record<string, DesiredState>> = {
  ready: 'ready',
  running: 'running',
  complete: 'complete',
  shutdown: 'shutdown',
  remove: 'remove',
};

/**
 * What the managers want of this node: the sum of their messages. Specs and networks go with the last task that points at
 * them.
 */
export class AssignmentSet {
  #networks = new Map<string, AssignedNetwork>();
  #specs = new Map<string, AssignedSpec>();
  #tasks = new Map<string, HeldTask>();
  #isComplete = false;
  #contents = new Map<string, AssignedContent>();
  /** Those that came in this session, while it has not said yet all that the node should have. */
  #early: Map<string, AssignedContent> | undefined = new Map();

  /**
   * Takes in a message. A task that is new or whose desired state moved is among `changed`; one that is no longer
   * named, among `removed`.
   *
   * @throws ApiaryError `internal` when the message does not add up: the session must start anew, with all of it.
   *   The set is then as it was before.
   */
  apply(message: AssignmentsMessage): { changed: AssignedTask[]; removed: string[] } {
    const difference = this.#applyTasks(message);
    if (message.complete) {
      this.#isComplete = true;
      this.#contents = this.#early ?? new Map();
      this.#early = undefined;
    }
    for (const { contentId, sealed, isTemplate } of message.contents) {
      this.#contents.set(contentId, { sealed, isTemplate });
      this.#early?.set(contentId, { sealed, isTemplate });
    }
    for (const id of message.removedContentIds) this.#contents.delete(id);
    return difference;
  }

  /** Whether the managers have said all that the node should have: before that, nothing here is too much. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Undefined when it is gone: no task that the managers want to run needs it, or it was removed. */
  content(id: string): AssignedContent | undefined {
    return this.#contents.get(id);
  }

  /** What a task's image is to be pulled with; undefined for nothing. `id` is what it is sealed under. */
  registryAuth(taskId: string): { id: string; sealed: Uint8Array } | undefined {
    const id = this.#tasks.get(taskId)?.registryAuthId ?? '';
    const content = this.#contents.get(id);
    return content && { id, sealed: content.sealed };
  }

  /** What comes now is of another session than what came. */
  sessionBegan(): void {
    this.#early = new Map();
  }

  #applyTasks(message: AssignmentsMessage): { changed: AssignedTask[]; removed: string[] } {
    const specs = new Map(message.complete ? [] : this.#specs);
    for (const spec of message.specs) specs.set(specKeyOf(spec), readSpec(spec));
    const networks = new Map(message.complete ? [] : this.#networks);
    for (const network of message.networks) networks.set(network.networkId, network);
    const tasks = new Map(message.complete ? [] : this.#tasks);
    const changed: AssignedTask[] = [];
    for (const named of message.tasks) {
      const held = readTask(named, specs, networks);
      tasks.set(named.taskId, held);
      const before = this.#tasks.get(named.taskId)?.task;
      if (before === undefined || before.desiredState !== held.task.desiredState) changed.push(held.task);
    }
    for (const id of message.removedTaskIds) tasks.delete(id);
    const removed = [...this.#tasks.keys()].filter((id) => !tasks.has(id));
    const used = new Set(Array.from(tasks.values(), ({ specKey }) => specKey));
    this.#specs = new Map([...specs].filter(([key]) => used.has(key)));
    const attached = new Set(Array.from(tasks.values()).flatMap(({ task }) => networkIdsOf(task)));
    this.#networks = new Map([...networks].filter(([id]) => attached.has(id)));
    this.#tasks = tasks;
    return { changed: changed.filter(({ id }) => tasks.has(id)), removed };
  }

  get(taskId: string): AssignedTask | undefined {
    return this.#tasks.get(taskId)?.task;
  }

  get taskIds(): string[] {
    return [...this.#tasks.keys()];
  }

  get tasks(): AssignedTask[] {
    return Array.from(this.#tasks.values(), ({ task }) => task);
  }

  /** By id: those that tasks are on. */
  get networks(): ReadonlyMap<string, AssignedNetwork> {
    return this.#networks;
  }

  get specCount(): number {
    return this.#specs.size;
  }
}

function specKeyOf({ serviceId, specVersion }: { serviceId: string; specVersion: number }): string {
  return `${serviceId} ${specVersion}`;
}

function readSpec(spec: AssignmentsMessage['specs'][number]): AssignedSpec {
  const { serviceName, serviceLabels, taskTemplateJson, endpointSpecJson, contentIds } = spec;
  try {
    // Validated where the user handed it in, by the manager that now sends it.
    const template: TaskTemplate = JSON.parse(taskTemplateJson);
    if (endpointSpecJson === '') return { serviceName, serviceLabels, contentIds, template };
    return { serviceName, serviceLabels, contentIds, template, endpoint: JSON.parse(endpointSpecJson) };
  } catch (error) {
    throw new ApiaryError('internal', `spec of service ${serviceName}: ${messageOf(error)}`, { cause: error });
  }
}

function readTask(
  named: AssignmentsMessage['tasks'][number],
  specs: ReadonlyMap<string, AssignedSpec>,
  known: ReadonlyMap<string, AssignedNetwork>,
): HeldTask {
  const specKey = specKeyOf(named);
  const spec = specs.get(specKey);
  const { taskId: id, serviceId, specVersion, slot } = named;
  if (spec === undefined) {
    throw new ApiaryError('internal', `task ${id}: version ${specVersion} of service ${serviceId} was never sent`);
  }
  const desiredState = DESIRED_STATES[named.desiredState];
  if (desiredState === undefined) {
    throw new ApiaryError('internal', `task ${id}: unknown desired state "${named.desiredState}"`);
  }
  const observedState = TASK_STATES.find((state) => state === named.observedState);
  if (observedState === undefined) {
    throw new ApiaryError('internal', `task ${id}: unknown observed state "${named.observedState}"`);
  }
  const genericResources = readClaims(named);
  const claims = genericResources.length > 0 && { genericResources };
  const networks = named.networks.map((attachment) => readAttachment(id, attachment, known));
  const attached = networks.length > 0 && { networks };
  return {
    specKey,
    registryAuthId: registryAuthId(serviceId, specVersion),
    task: { id, serviceId, slot, desiredState, observedState, ...spec, ...claims, ...attached },
  };
}

function readAttachment(
  taskId: string,
  { networkId, address, aliases, ipv6Address }: TaskAttachment,
  known: ReadonlyMap<string, AssignedNetwork>,
): AttachedNetwork {
  const network = known.get(networkId);
  if (network === undefined) throw new ApiaryError('internal', `task ${taskId}: network ${networkId} was never sent`);
  const { name, engineNetwork } = network;
  return { networkId, address, aliases, ...(ipv6Address && { ipv6Address }), name, engineNetwork };
}

function networkIdsOf({ networks = [] }: AssignedTask): string[] {
  return networks.map(({ networkId }) => networkId);
}

function readClaims({ taskId, genericResourcesJson }: AssignmentsMessage['tasks'][number]): GenericResource[] {
  if (genericResourcesJson === '') return [];
  try {
    return JSON.parse(genericResourcesJson);
  } catch (error) {
    throw new ApiaryError('internal', `generic resources of task ${taskId}: ${messageOf(error)}`, { cause: error });
  }
}
