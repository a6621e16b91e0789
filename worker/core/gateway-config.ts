import {
  type ContainerConfig,
  GATEWAY_ADDRESS_LABEL,
  GATEWAY_FILES,
  GATEWAY_IPV6_LABEL,
  GATEWAY_PORTS_LABEL,
  type GatewayFile,
  type GatewayWish,
  NETWORKS_LABEL,
} from './container.js';
import { type TaskPort, writePortsLabel } from './host-ports.js';

/** Where on the host the files of a container on the gateway network are. */
export interface GatewayPlace {
  address: string;
  /** Empty: it has IPv4 alone. */
  ipv6Address: string;
  /** Of the host, each with its number. */
  ports: readonly TaskPort[];
  /** The path that leads to the first of the files, and that holds up whoever goes along it until the network is there. */
  gatePath: string;
  pathOf: (file: GatewayFile) => string;
}

/**
 * The container without a network of the engine's: its namespace is empty but for what is put into it. One of its files is
 * mounted from behind the gate, the others from where they are.
 */
export function withGateway(config: ContainerConfig, place: GatewayPlace): ContainerConfig {
  const { body, gateway } = config;
  if (gateway === undefined) return config;
  const binds = gateway.files.map(
    (file, i) => `${i === 0 ? place.gatePath : place.pathOf(file)}:${GATEWAY_FILES[file]}`,
  );
  return {
    ...config,
    body: {
      ...body,
      NetworkDisabled: true,
      Labels: {
        ...objectOf(body['Labels']),
        [GATEWAY_ADDRESS_LABEL]: place.address,
        ...(place.ipv6Address !== '' && { [GATEWAY_IPV6_LABEL]: place.ipv6Address }),
        ...(place.ports.length > 0 && { [GATEWAY_PORTS_LABEL]: writePortsLabel(place.ports) }),
        ...networksLabel(gateway),
      },
      // The engine would bind no port for a container without a network.
      HostConfig: { ...objectOf(body['HostConfig']), Binds: binds, PortBindings: {} },
    },
  };
}

function networksLabel({ networks }: GatewayWish): Record<string, string> {
  if (networks.length === 0) return {};
  const places = networks.map(({ networkId, address, ipv6Address = '' }) =>
    ipv6Address === '' ? [networkId, address] : [networkId, address, ipv6Address],
  );
  return { [NETWORKS_LABEL]: JSON.stringify(places) };
}

function objectOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}
