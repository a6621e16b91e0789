import type { ContentKind, EngineNeed, TemplateFacts } from '@apiary/api/model';
import type { DnsWishes, HostEntry, TaskAttachment } from '@apiary/overlay-net/core';
import type { TaskPort } from './host-ports.js';

/** What the engine is told: its own words, made from a task's spec. */
export interface ContainerConfig {
  name: string;
  taskId: string;
  /** Body of the Engine API's `POST /containers/create`. */
  body: Record<string, unknown>;
  /** What of it only newer engines know. */
  engineNeeds?: readonly EngineNeed[];
  /** What it asks of the gateway network; undefined for one that can only be on a network of the engine's. */
  gateway?: GatewayWish;
  /** The secrets and configs that are mounted into it; undefined when there are none. */
  contents?: ContentWish;
}

export interface ContentWish {
  files: ContentFile[];
  /** What templates among them may ask. */
  facts: TemplateFacts;
  /** The container's variables as the user wrote them. */
  env: readonly string[];
}

/** A secret or a config as a file in a container. */
export interface ContentFile {
  kind: ContentKind;
  name: string;
  /** Of the version. Undefined of a name that is followed and was not there. */
  contentId: string | undefined;
  /** As the user wrote it: what a template calls it. */
  target: string;
  /** Where it is in the container. */
  path: string;
  uid: number;
  gid: number;
  mode: number;
}

/** What a container on the gateway network is to find in /etc. */
export interface GatewayWish {
  /** Its own name; empty: the first part of its id. */
  hostname: string;
  hosts: HostEntry[];
  dns: DnsWishes;
  /** The overlay networks that it is on beside, in the order of its interfaces. */
  networks: TaskAttachment[];
  /** Of the host, in host mode. */
  ports: TaskPort[];
  /** Something of it is published, on its host or on every one. */
  isPublished: boolean;
  /** Which of the files it does not bring itself, by a mount of its own: at least one. */
  files: GatewayFile[];
}

/** Where in the container, by what is in it. In the order of their worth as the way through the gate. */
export const GATEWAY_FILES = { hosts: '/etc/hosts', resolvConf: '/etc/resolv.conf' } as const;

export type GatewayFile = keyof typeof GATEWAY_FILES;

/** What the engine tells of a task's container. */
export interface EngineContainer {
  id: string;
  taskId: string;
  /** The node that the task was given to: an engine may also hold containers of another node or another swarm. */
  nodeId: string;
  /** By its labels: whose output it has. */
  origin?: { taskName: string; serviceId: string; serviceName: string };
  state: 'created' | 'running' | 'exited';
  pid: number;
  exitCode: number;
  oomKilled: boolean;
  /** The engine's own words for why it could not start or ended. */
  error: string;
  /** Of a container that runs and has a health check. */
  health?: 'starting' | 'healthy' | 'unhealthy';
  /** Of one that was created for the gateway network: its address there. */
  gatewayAddress?: string;
  /** The same of IPv6, if it is to have one. */
  gatewayIpv6Address?: string;
  /** Of the same: its overlay networks. */
  networks?: TaskAttachment[];
  ports: { protocol: string; targetPort: number; publishedPort: number }[];
}

/** The labels that tie a container to its task: Docker Swarm's own, so that its tools and its users find them. */
export const TASK_LABELS = {
  nodeId: 'com.docker.swarm.node.id',
  serviceId: 'com.docker.swarm.service.id',
  serviceName: 'com.docker.swarm.service.name',
  task: 'com.docker.swarm.task',
  taskId: 'com.docker.swarm.task.id',
  taskName: 'com.docker.swarm.task.name',
} as const;

/** Says which address on the gateway network a container was created with. */
export const GATEWAY_ADDRESS_LABEL = 'apiary.gateway.address';

/** Says the same of its address of IPv6. */
export const GATEWAY_IPV6_LABEL = 'apiary.gateway.ipv6';

/** Says which ports of its host lead to it: see `readPortsLabel`. */
export const GATEWAY_PORTS_LABEL = 'apiary.gateway.ports';

/** Says which overlay networks it was created for: JSON, in order the networks' ids and its addresses on them, of IPv4 and perhaps of IPv6. */
export const NETWORKS_LABEL = 'apiary.networks';

/** The networks that such a label says. */
export function networksOfLabel(label: string | undefined): TaskAttachment[] {
  if (label === undefined) return [];
  const said: [string, string, string?][] = JSON.parse(label);
  return said.map(([networkId, address, ipv6Address = '']) => ({ networkId, address, aliases: [], ipv6Address }));
}
