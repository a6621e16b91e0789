import type { EndpointSpec } from '@apiary/api/model';

/** A port of the host that leads to a task (host mode). */
export interface TaskPort {
  protocol: string;
  targetPort: number;
  /** 0: any that is free. */
  publishedPort: number;
}

/** The ports that a service wants on the hosts of its tasks. */
export function hostPortsOf(endpoint: EndpointSpec | undefined): TaskPort[] {
  return (endpoint?.Ports ?? [])
    .filter((port) => port.PublishMode === 'host')
    .map(({ TargetPort = 0, PublishedPort = 0, Protocol }) => ({
      protocol: Protocol || 'tcp',
      targetPort: TargetPort,
      publishedPort: PublishedPort,
    }));
}

/** For a container's label, so that its ports are known as long as it is: `tcp/8080:80,udp/53:5353`. */
export function writePortsLabel(ports: readonly TaskPort[]): string {
  return ports.map(({ protocol, publishedPort, targetPort }) => `${protocol}/${publishedPort}:${targetPort}`).join();
}

/** What cannot be read is passed over: anybody can put a label on a container. */
export function readPortsLabel(label: string): TaskPort[] {
  return label.split(',').flatMap((text) => {
    const [, protocol, published, target] = /^(tcp|udp|sctp)\/(\d{1,5}):(\d{1,5})$/.exec(text) ?? [];
    if (protocol === undefined) return [];
    return [{ protocol, publishedPort: Number(published), targetPort: Number(target) }];
  });
}
