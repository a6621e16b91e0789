import { formatIp, macOf, parseIp } from '@apiary/overlay-net/core';
import { ApiaryError } from '@apiary/std';
import type { Attachments } from './attachments.js';
import { IPV6_LABEL, NETWORK_LABEL, withoutPrefix } from './engine-networks.js';
import type { PluginCalls } from './plugin-server.js';

/** What the engine says that an address is for; else it is a container's. */
const ADDRESS_TYPE = 'RequestAddressType';
const GATEWAY_TYPE = 'com.docker.network.gateway';
/** Which of a network's two pools one is; of a network of IPv4 alone the one has the network's id. */
const [IPV4, IPV6] = ['4', '6'];
const GENERIC_OPTIONS = 'com.docker.network.generic';

interface PoolRequest {
  Pool?: string;
  V6?: boolean;
  Options?: Record<string, string> | null;
}

interface AddressRequest {
  PoolID?: string;
  Address?: string;
  Options?: Record<string, string> | null;
}

interface EndpointRequest {
  NetworkID?: string;
  EndpointID?: string;
  SandboxKey?: string;
  Interface?: { Address?: string; AddressIPv6?: string; MacAddress?: string } | null;
}

/** What the driver asks of what there is. */
type DriverAttachments = Pick<
  Attachments,
  'toldNetwork' | 'request' | 'requestIpv6' | 'release' | 'networkDeleted' | 'offer' | 'retract' | 'join' | 'leave'
>;

/**
 * libnetwork's remote drivers of networks and of addresses (moby/libnetwork, docs/remote.md and docs/ipam.md), for networks
 * of the cluster. The engine must not be asked anything while it waits for an answer here: it holds locks.
 */
export function libnetworkDriver(attachments: DriverAttachments): PluginCalls {
  return {
    'Plugin.Activate': () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
    ...addressCalls(attachments),
    ...networkCalls(attachments),
  };
}

function addressCalls(attachments: DriverAttachments): PluginCalls {
  return {
    'IpamDriver.GetCapabilities': () => ({ RequiresMACAddress: false, RequiresRequestReplay: false }),
    'IpamDriver.GetDefaultAddressSpaces': () => ({
      LocalDefaultAddressSpace: 'apiary',
      GlobalDefaultAddressSpace: 'apiary',
    }),
    'IpamDriver.RequestPool': (request) => {
      const { Pool = '', V6 = false, Options } = request as PoolRequest;
      const networkId = Options?.[NETWORK_LABEL];
      if (networkId === undefined || Pool === '') throw notOfCluster();
      const isDual = Options?.[IPV6_LABEL] !== undefined;
      return { PoolID: isDual ? `${networkId}/${V6 ? IPV6 : IPV4}` : networkId, Pool };
    },
    'IpamDriver.ReleasePool': () => ({}),
    'IpamDriver.RequestAddress': async (request) => {
      const { PoolID = '', Address = '', Options } = request as AddressRequest;
      const [networkId = '', family] = PoolID.split('/');
      const network = await attachments.toldNetwork(networkId);
      const [subnet = '', gateway = ''] =
        family === IPV6 ? [network.ipv6Subnet, network.ipv6Gateway] : [network.subnet, network.gateway];
      const within = (address: string) => ({ Address: `${address}/${subnet.split('/')[1] ?? ''}` });
      if (Options?.[ADDRESS_TYPE] === GATEWAY_TYPE) return within(Address || gateway);
      if (family === IPV6) return within(await attachments.requestIpv6(networkId, written(Address)));
      return within(await attachments.request(networkId, Address, { hasIpv6: family === IPV4 }));
    },
    'IpamDriver.ReleaseAddress': (request) => {
      const { PoolID = '', Address = '' } = request as AddressRequest;
      const [networkId = '', family] = PoolID.split('/');
      // Both go with that of IPv4.
      if (family !== IPV6) attachments.release(networkId, withoutPrefix(Address));
      return {};
    },
  };
}

function networkCalls(attachments: DriverAttachments): PluginCalls {
  const nothing = () => ({});
  return {
    'NetworkDriver.GetCapabilities': () => ({ Scope: 'local', ConnectivityScope: 'global' }),
    'NetworkDriver.CreateNetwork': (request) => {
      const { Options } = request as { Options?: Record<string, unknown> | null };
      const generic = Options?.[GENERIC_OPTIONS];
      const isOurs = typeof generic === 'object' && generic !== null && NETWORK_LABEL in generic;
      if (!isOurs) throw notOfCluster();
      return {};
    },
    'NetworkDriver.DeleteNetwork': () => {
      attachments.networkDeleted();
      return {};
    },
    'NetworkDriver.CreateEndpoint': async (request) => {
      const { EndpointID = '', Interface } = request as EndpointRequest;
      const address = withoutPrefix(Interface?.Address ?? '');
      const mac = macOf(address);
      const asked = Interface?.MacAddress ?? '';
      if (asked !== '' && asked.toLowerCase() !== mac) {
        const words = `MAC address ${asked}: on a network of the cluster it follows from the address: leave it out`;
        throw new ApiaryError('invalid-argument', words);
      }
      await attachments.offer(address, written(withoutPrefix(Interface?.AddressIPv6 ?? '')), EndpointID);
      return { Interface: asked === '' ? { MacAddress: mac } : {} };
    },
    'NetworkDriver.DeleteEndpoint': async (request) => {
      await attachments.retract((request as EndpointRequest).EndpointID ?? '');
      return {};
    },
    'NetworkDriver.EndpointOperInfo': () => ({ Value: {} }),
    'NetworkDriver.Join': (request) => {
      const { NetworkID = '', EndpointID = '', SandboxKey = '' } = request as EndpointRequest;
      const { link, internal } = attachments.join(EndpointID, NetworkID, SandboxKey);
      // Its way out, and its published ports, are those of the engine's own gateway bridge, as with Docker's overlays.
      return { InterfaceName: { SrcName: link, DstPrefix: 'eth' }, Gateway: '', DisableGatewayService: internal };
    },
    'NetworkDriver.Leave': (request) => {
      attachments.leave((request as EndpointRequest).EndpointID ?? '');
      return {};
    },
    'NetworkDriver.AllocateNetwork': nothing,
    'NetworkDriver.FreeNetwork': nothing,
    'NetworkDriver.DiscoverNew': nothing,
    'NetworkDriver.DiscoverDelete': nothing,
    'NetworkDriver.ProgramExternalConnectivity': nothing,
    'NetworkDriver.RevokeExternalConnectivity': nothing,
  };
}

/** An address as everybody here writes it. */
function written(text: string): string {
  const address = parseIp(text);
  return address === undefined ? text : formatIp(address);
}

function notOfCluster(): ApiaryError {
  const how = 'docker network create --driver overlay --attachable, at a manager';
  return new ApiaryError('invalid-argument', `networks of the driver apiary are made with the cluster's: ${how}`);
}
