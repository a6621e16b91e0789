import { ATTACHABLE_DRIVER } from '@apiary/api/model';
import { ApiaryError, type Clock } from '@apiary/std';
import { EngineHttp } from '../engine-http.js';

/** Which of the cluster's networks one of the engine's stands for. */
export const NETWORK_LABEL = 'apiary.network';
/** The network has IPv6 beside IPv4. */
export const IPV6_LABEL = 'apiary.ipv6';

const TIMEOUT_MS = 30_000;

export interface EngineNetwork {
  /** The engine's own. */
  id: string;
  name: string;
  /** The cluster's; undefined for one that is none of ours. */
  networkId: string | undefined;
  hasIpv6: boolean;
}

export interface NetworkMaking {
  networkId: string;
  name: string;
  subnet: string;
  gateway: string;
  /** Empty: it is of IPv4 alone. */
  ipv6Subnet?: string;
  ipv6Gateway?: string;
  internal: boolean;
}

/** A container on a network, that is running. */
export interface EngineEndpoint {
  endpointId: string;
  containerId: string;
  address: string;
  /** Empty: it has none. */
  ipv6Address: string;
}

export interface NetworkedContainer {
  name: string;
  sandboxKey: string;
  /** By endpoint. */
  aliases: ReadonlyMap<string, readonly string[]>;
}

/** The port to the engine's networks, and to who is on them. Every call throws ApiaryError as those of `Engine`. */
export interface EngineNetworks {
  list(): Promise<EngineNetwork[]>;
  create(network: NetworkMaking): Promise<void>;
  /** One that is gone is removed. */
  remove(id: string): Promise<void>;
  /** @returns undefined when there is no such network */
  endpoints(id: string): Promise<EngineEndpoint[] | undefined>;
  /** Waits while it is being started. @returns undefined when it is gone */
  container(id: string): Promise<NetworkedContainer | undefined>;
  disconnect(networkId: string, containerId: string): Promise<void>;
  /** What is under way fails: nobody waits any longer. */
  close(): void;
}

interface NetworkAnswer {
  Id: string;
  Name: string;
  Driver?: string;
  EnableIPv6?: boolean;
  Labels?: Record<string, string> | null;
  Containers?: Record<string, { EndpointID?: string; IPv4Address?: string; IPv6Address?: string }> | null;
}

interface ContainerAnswer {
  Name?: string;
  NetworkSettings?: {
    SandboxKey?: string;
    Networks?: Record<string, { EndpointID?: string; Aliases?: string[] | null; DNSNames?: string[] | null }> | null;
  };
}

/** Docker Engine's, over its unix socket. */
export function dockerNetworks({ socketPath, clock }: { socketPath: string; clock: Clock }): EngineNetworks {
  const http = new EngineHttp(socketPath, clock);
  const call = async (method: string, path: string, body?: unknown) =>
    (await http.request(method, path, { timeoutMs: TIMEOUT_MS, ...(body !== undefined && { body }) })).body;
  return {
    async list() {
      const networks = (await call('GET', '/networks')) as NetworkAnswer[];
      return networks.map(({ Id: id, Name: name, Driver, EnableIPv6, Labels }) => ({
        id,
        name,
        networkId: Driver === ATTACHABLE_DRIVER ? (Labels?.[NETWORK_LABEL] ?? '') : undefined,
        hasIpv6: EnableIPv6 === true,
      }));
    },
    async create({ networkId, name, subnet, gateway, ipv6Subnet = '', ipv6Gateway = '', internal }) {
      const hasIpv6 = ipv6Subnet !== '';
      const options = { [NETWORK_LABEL]: networkId, ...(hasIpv6 && { [IPV6_LABEL]: 'true' }) };
      const ipv6 = hasIpv6 ? [{ Subnet: ipv6Subnet, Gateway: ipv6Gateway }] : [];
      await call('POST', '/networks/create', {
        Name: name,
        CheckDuplicate: true,
        Driver: ATTACHABLE_DRIVER,
        Internal: internal,
        EnableIPv6: hasIpv6,
        Labels: options,
        Options: options,
        IPAM: { Driver: ATTACHABLE_DRIVER, Options: options, Config: [{ Subnet: subnet, Gateway: gateway }, ...ipv6] },
      });
    },
    async remove(id) {
      await call('DELETE', `/networks/${id}`).catch(ifThere);
    },
    async endpoints(id) {
      const network = (await call('GET', `/networks/${id}`).catch(ifThere)) as NetworkAnswer | undefined;
      if (network === undefined) return undefined;
      const endpoints: EngineEndpoint[] = [];
      for (const [containerId, container] of Object.entries(network.Containers ?? {})) {
        const { EndpointID: endpointId, IPv4Address = '', IPv6Address = '' } = container;
        if (endpointId === undefined || containerId.startsWith('ep-')) continue;
        const [address, ipv6Address] = [withoutPrefix(IPv4Address), withoutPrefix(IPv6Address)];
        endpoints.push({ endpointId, containerId, address, ipv6Address });
      }
      return endpoints;
    },
    async container(id) {
      const container = (await call('GET', `/containers/${id}/json`).catch(ifThere)) as ContainerAnswer | undefined;
      if (container === undefined) return undefined;
      const { Name = '', NetworkSettings } = container;
      const aliases = new Map<string, string[]>();
      for (const { EndpointID = '', Aliases, DNSNames } of Object.values(NetworkSettings?.Networks ?? {})) {
        aliases.set(EndpointID, [...new Set([...(Aliases ?? []), ...(DNSNames ?? []), id.slice(0, 12)])]);
      }
      const sandboxKey = NetworkSettings?.SandboxKey ?? '';
      return { name: Name.replace(/^\//, ''), sandboxKey, aliases };
    },
    async disconnect(networkId, containerId) {
      await call('POST', `/networks/${networkId}/disconnect`, { Container: containerId, Force: true }).catch(ifThere);
    },
    close: () => http.close(),
  };
}

/** The address of `10.0.1.5/24`. */
export function withoutPrefix(text: string): string {
  return text.split('/')[0] ?? '';
}

function ifThere(error: unknown): undefined {
  if (error instanceof ApiaryError && error.code === 'not-found') return undefined;
  throw error;
}
