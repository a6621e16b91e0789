import type { PortConfig } from '@apiary/api/model';
import type { ServiceRecord } from './records.js';

/** A port that two services want, and who has it. */
export interface PortConflict {
  publishedPort: number;
  holder: ServiceRecord;
  /** How the holder publishes it. */
  mode: 'ingress' | 'host';
}

/**
 * Whether another service publishes one of the ports. A port of every node (ingress) is nobody else's in any mode; the same
 * port of single hosts may be that of several services, which then run on different ones. As SwarmKit has it.
 */
export function portConflict(
  services: readonly ServiceRecord[],
  ports: readonly PortConfig[],
  exceptId?: string,
): PortConflict | undefined {
  const asked = new Map<string, boolean>();
  for (const port of ports)
    if (port.PublishedPort) asked.set(keyOf(port), isIngress(port) || asked.get(keyOf(port)) === true);
  if (asked.size === 0) return undefined;
  for (const holder of services) {
    if (holder.id === exceptId) continue;
    for (const port of [...(holder.spec.EndpointSpec?.Ports ?? []), ...(holder.endpoint?.ports ?? [])]) {
      const isAskedIngress = asked.get(keyOf(port));
      if (isAskedIngress === undefined || !(isAskedIngress || isIngress(port))) continue;
      return { publishedPort: port.PublishedPort ?? 0, holder, mode: isIngress(port) ? 'ingress' : 'host' };
    }
  }
  return undefined;
}

function keyOf({ PublishedPort = 0, Protocol = 'tcp' }: PortConfig): string {
  return `${PublishedPort}/${Protocol}`;
}

function isIngress({ PublishMode = 'ingress' }: PortConfig): boolean {
  return PublishMode === 'ingress';
}
