import { type ContentKind, isTerminal, rankOf } from '@apiary/api/model';
import { invariant } from '@apiary/std';
import { EventRing } from '../events/event-ring.js';
import { AddressBook } from './address-book.js';
import { contentPins } from './content-pins.js';
import { Contents } from './contents.js';
import { NodeUsageSum } from './node-usage.js';
import { GroupedIndex, RecordIndex } from './record-index.js';
import type {
  AttachmentRecord,
  ClientCertificateRecord,
  ClusterRecord,
  NetworkRecord,
  NodeRecord,
  ServiceRecord,
  TaskRecord,
} from './records.js';
import { SpecVersions } from './spec-versions.js';

/** All records, with what finds them: whatever puts or deletes one here keeps every index in step. */
export class Tables {
  cluster: ClusterRecord | undefined;
  readonly clientCertificates = new RecordIndex<ClientCertificateRecord>();
  readonly nodes = new RecordIndex<NodeRecord>();
  readonly services = new RecordIndex<ServiceRecord>();
  readonly tasks = new RecordIndex<TaskRecord>();
  readonly networks = new RecordIndex<NetworkRecord>();
  readonly attachments = new RecordIndex<AttachmentRecord>();
  readonly attachmentsOfNode = new GroupedIndex<AttachmentRecord>();
  readonly tasksOfService = new GroupedIndex<TaskRecord>();
  readonly tasksOfNode = new GroupedIndex<TaskRecord>();
  readonly usageOfNode = new Map<string, NodeUsageSum>();
  readonly addresses = new AddressBook();
  readonly pendingTasks = new RecordIndex<TaskRecord>();
  readonly rebalancing = new RecordIndex<ServiceRecord>();
  readonly contents: Record<ContentKind, Contents> = { secret: new Contents(), config: new Contents() };
  readonly specs = new SpecVersions((spec, change) => {
    for (const { kind, id } of contentPins(spec)) {
      if (change === 'added') this.contents[kind].hold(id);
      else this.contents[kind].release(id);
    }
  });
  readonly events = new EventRing();
  /** By service, the highest spec version ever made: an agent knows specs by their number, so none is given twice. */
  readonly lastSpecVersions = new Map<string, number>();
  readonly #serviceIdByName = new Map<string, string>();

  /** Names are one whatever their case, as in DNS, where they end up. */
  serviceByName(name: string): ServiceRecord | undefined {
    const id = this.#serviceIdByName.get(name.toLowerCase());
    return id === undefined ? undefined : this.services.get(id);
  }

  putService(service: ServiceRecord): void {
    const before = this.services.get(service.id);
    this.#holdSpecs(service);
    this.#forgetService(before);
    this.#moveVips(service.id, before, service);
    this.services.put(service);
    if (service.rebalance === undefined) this.rebalancing.delete(service.id);
    else this.rebalancing.put(service);
    if (service.spec.Name !== undefined) this.#serviceIdByName.set(service.spec.Name.toLowerCase(), service.id);
  }

  deleteService(service: ServiceRecord): void {
    this.#forgetService(service);
    this.#moveVips(service.id, service, undefined);
    this.services.delete(service.id);
    this.rebalancing.delete(service.id);
    this.lastSpecVersions.delete(service.id);
  }

  putTask(task: TaskRecord): void {
    const before = this.tasks.get(task.id);
    if (before === undefined) this.specs.hold(task.serviceId, task.specVersion);
    else this.#countUsage(before, -1);
    this.#countUsage(task, 1);
    this.#moveAddresses(task.id, before, task);
    this.tasks.put(task);
    this.tasksOfService.put(task.serviceId, task);
    if (task.nodeId !== undefined) this.tasksOfNode.put(task.nodeId, task);
    if (isPending(task)) this.pendingTasks.put(task);
    else if (before !== undefined && isPending(before)) this.pendingTasks.delete(task.id);
  }

  deleteTask(task: TaskRecord): void {
    this.tasks.delete(task.id);
    this.tasksOfService.delete(task.serviceId, task.id);
    if (task.nodeId !== undefined) this.tasksOfNode.delete(task.nodeId, task.id);
    this.pendingTasks.delete(task.id);
    this.#countUsage(task, -1);
    this.#moveAddresses(task.id, task, undefined);
    this.specs.release(task.serviceId, task.specVersion);
  }

  putAttachment(attachment: AttachmentRecord): void {
    const before = this.attachments.get(attachment.id);
    if (before !== undefined) this.deleteAttachment(before);
    this.addresses.hold(attachment.id, [attachment]);
    this.attachments.put(attachment);
    this.attachmentsOfNode.put(attachment.nodeId, attachment);
  }

  deleteAttachment(attachment: AttachmentRecord): void {
    this.addresses.release(attachment.id, [attachment]);
    this.attachments.delete(attachment.id);
    this.attachmentsOfNode.delete(attachment.nodeId, attachment.id);
  }

  #moveVips(id: string, before: ServiceRecord | undefined, after: ServiceRecord | undefined): void {
    if (before?.endpoint === after?.endpoint) return;
    this.addresses.release(id, before?.endpoint?.vips ?? []);
    this.addresses.hold(id, after?.endpoint?.vips ?? []);
  }

  /** What a task has of addresses does not change from its assignment to its end. */
  #moveAddresses(id: string, before: TaskRecord | undefined, after: TaskRecord | undefined): void {
    const [held, holds] = [heldBy(before), heldBy(after)];
    if ((held === undefined) === (holds === undefined)) return;
    this.addresses.release(id, held ?? []);
    this.addresses.hold(id, holds ?? []);
  }

  #countUsage(task: TaskRecord, sign: 1 | -1): void {
    if (task.nodeId === undefined) return;
    const demand = this.specs.demandOf(task.serviceId, task.specVersion);
    invariant(demand !== undefined, `the spec version of task ${task.id} is gone`);
    const usage = this.usageOfNode.get(task.nodeId) ?? new NodeUsageSum();
    usage.count(task, demand, sign);
    if (usage.isEmpty) this.usageOfNode.delete(task.nodeId);
    else this.usageOfNode.set(task.nodeId, usage);
  }

  #holdSpecs(service: ServiceRecord): void {
    this.specs.hold(service.id, service.specVersion);
    if (service.previous !== undefined) this.specs.hold(service.id, service.previous.specVersion);
  }

  #forgetService(service: ServiceRecord | undefined): void {
    if (service === undefined) return;
    if (service.spec.Name !== undefined) this.#serviceIdByName.delete(service.spec.Name.toLowerCase());
    this.specs.release(service.id, service.specVersion);
    if (service.previous !== undefined) this.specs.release(service.id, service.previous.specVersion);
  }
}

/** The addresses that a task keeps from others: until its container is known to be no more. */
function heldBy(task: TaskRecord | undefined): TaskRecord['networks'] {
  return task === undefined || isTerminal(task.status.state) ? undefined : task.networks;
}

/** Whether a task waits for a node: it has got none, and is still to run. */
function isPending(task: TaskRecord): boolean {
  return rankOf(task.status.state) < rankOf('assigned') && rankOf(task.desiredState) <= rankOf('complete');
}
