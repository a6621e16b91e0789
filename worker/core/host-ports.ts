import type { EndpointSpec } from '@apiary/api/model';
import { formatIp, parseIp } from '@apiary/overlay-net/core';

/** A port of the host that leads to a task (host mode). */
export interface TaskPort {
  protocol: string;
  targetPort: number;
  /** 0: any that is free. */
  publishedPort: number;
  /** At which address of the host; by default at all. */
  hostAddress?: string;
}

const EVERYWHERE = '0.0.0.0';

/** The ports that a service wants on the hosts of its tasks. */
export function hostPortsOf(endpoint: EndpointSpec | undefined): TaskPort[] {
  return (endpoint?.Ports ?? [])
    .filter((port) => port.PublishMode === 'host')
    .map(({ TargetPort = 0, PublishedPort = 0, Protocol, HostIP }) => ({
      protocol: Protocol || 'tcp',
      targetPort: TargetPort,
      publishedPort: PublishedPort,
      ...(HostIP && HostIP !== EVERYWHERE && { hostAddress: writtenAddress(HostIP) }),
    }));
}

/** As the kernel and its tools write it. */
function writtenAddress(text: string): string {
  const address = parseIp(text);
  return address === undefined ? text : formatIp(address);
}

/** For a container's label, so that its ports are known as long as it is: `tcp/8080:80,udp/53:5353@192.0.2.1`. */
export function writePortsLabel(ports: readonly TaskPort[]): string {
  const text = ({ protocol, publishedPort, targetPort, hostAddress }: TaskPort) =>
    `${protocol}/${publishedPort}:${targetPort}${hostAddress === undefined ? '' : `@${hostAddress}`}`;
  return ports.map(text).join();
}

/** What cannot be read is passed over: anybody can put a label on a container. */
export function readPortsLabel(label: string): TaskPort[] {
  return label.split(',').flatMap((text) => {
    const [, protocol, published, target, hostAddress] =
      /^(tcp|udp|sctp)\/(\d{1,5}):(\d{1,5})(?:@([\d.a-f:]+))?$/.exec(text) ?? [];
    if (protocol === undefined) return [];
    const port = { protocol, publishedPort: Number(published), targetPort: Number(target) };
    return [hostAddress === undefined ? port : { ...port, hostAddress }];
  });
}
