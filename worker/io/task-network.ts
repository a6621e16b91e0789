import type { AttachmentsReport } from '@apiary/api/rpc';
import type { AssignedNetworks, ContainerConfig, EngineContainer } from '../core/index.js';

/** The port to what gives tasks their network where the engine does not. */
export interface TaskNetwork {
  /** Empty while it works; else why tasks that are created from now on are on the engine's own bridge. */
  readonly trouble: string;
  /** Empty while VIPs lead to tasks; else why names stand for tasks themselves on this node. */
  readonly vipTrouble: string;
  /** By which other hosts are to know this one, for encrypted networks; empty when it can have none. */
  readonly wireguardKey: string;
  /** Those of IPv6 at which this node takes in what is published, separated by commas. */
  readonly ipv6Addresses: string;
  /** What the managers are to hear of containers that are no tasks and are on networks. */
  readonly attachments: AttachmentsReport;
  /** The managers say which addresses this node's tasks have; empty: none. */
  use(subnet: string): void;
  /**
   * These are all the containers of this node's tasks, now that the engine answers.
   *
   * @param isKnown  whether a task is still heard of, although it has no container
   */
  adopt(containers: readonly EngineContainer[], isKnown: (taskId: string) => boolean): void;
  /** The container was looked at. */
  observe(container: EngineContainer): void;
  /** The task has no container, and will get none. */
  forget(taskId: string): void;
  /**
   * What to create a task's container with, and an address for it. Waits until it is known which addresses there are.
   *
   * @throws ApiaryError `resource-exhausted` when all are in use
   */
  prepare(config: ContainerConfig): Promise<ContainerConfig>;
  /**
   * Has a container started, and gives it its network on the way.
   *
   * @param start  what starts it
   * @returns      `unreached` when it has, or would have, come up without a network. It must be created anew: from now on
   *               there is `trouble`
   * @throws ApiaryError `failed-precondition` that says why its network could not be made, else what `start` throws
   */
  start(config: ContainerConfig, containerId: string, start: () => Promise<void>): Promise<'started' | 'unreached'>;
  /** What the managers know of the cluster's networks, and which tasks of this node are on them. */
  apply(state: AssignedNetworks): void;
  /** Resolves when a task may be stopped: nobody is led to it any more, or should have been by now. */
  withdrawn(taskId: string, serviceId: string): Promise<void>;
  /** Takes containers that are no tasks off their networks. */
  putOut(): Promise<void>;
  /** Ends it. What runs keeps its network. */
  close(): Promise<void>;
  /** Ends it and takes away all of it: no task of this node is left. */
  remove(): Promise<void>;
}
