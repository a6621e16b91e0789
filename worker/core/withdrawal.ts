import type { NetworkState } from '@apiary/overlay-net/core';

/** What is known of who takes connections. */
export type KnownEndpoints = Pick<NetworkState, 'endpointSets' | 'publishedPorts'>;

/** Whether new connections may be led to a task: by a VIP or a name, or by a published port. */
export function takesConnections({ endpointSets, publishedPorts }: KnownEndpoints, taskId: string): boolean {
  for (const { endpoints } of endpointSets.values()) if (endpoints.get(taskId)?.live === true) return true;
  for (const { backends } of publishedPorts.values()) if (backends.some((each) => each.taskId === taskId)) return true;
  return false;
}

/** Whether a service has others who take its connections: then there is somebody to whom it matters when a task stops. */
export function hasStandIns(known: KnownEndpoints, serviceId: string, taskId: string): boolean {
  for (const { endpoints } of known.endpointSets.values()) {
    for (const each of endpoints.values()) {
      if (each.serviceId === serviceId && each.taskId !== taskId && each.live) return true;
    }
  }
  for (const port of known.publishedPorts.values()) {
    if (port.serviceId === serviceId && port.backends.some((each) => each.taskId !== taskId)) return true;
  }
  return false;
}
