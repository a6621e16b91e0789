import type { InitRequest } from '@apiary/api/model';
import { GATEWAY_POOL, networksOverlap, parseIpNetwork } from '@apiary/overlay-net/core';
import { messageOf } from '@apiary/std';
import type { ClusterRecord } from '../store/records.js';
import { invalid } from './refusal.js';

/** IANA's port of VXLAN, as Docker has it by default. */
const DATA_PATH_PORT = 4789;
const LOWEST_DATA_PATH_PORT = 1024;
const HIGHEST_DATA_PATH_PORT = 49_151;

const DEFAULT_POOL = '10.0.0.0/8';
/** Room for 4093 tasks: Docker's /24 has room for 253, and runs out (moby/moby 37338). */
const DEFAULT_SUBNET_LENGTH = 20;
/** What Docker's clients send when nobody asked, and show. */
export const DOCKER_SUBNET_LENGTH = 24;
const LONGEST_SUBNET_LENGTH = 29;

/**
 * What `swarm init` asks of networks, checked: Docker's clients always send a subnet's size, so that its default alone asks
 * for nothing.
 *
 * @throws ApiaryError `invalid-argument` in Docker's words
 */
export function readNetworkSettings(request: InitRequest): Pick<ClusterRecord, 'addressPools' | 'dataPathPort'> {
  const { DefaultAddrPool: asked = [], SubnetSize: size = 0, DataPathPort: port = 0 } = request;
  const settings: Pick<ClusterRecord, 'addressPools' | 'dataPathPort'> = {};
  if (port !== 0 && (port < LOWEST_DATA_PATH_PORT || port > HIGHEST_DATA_PATH_PORT)) {
    throw invalid(`Datapath port number is not in valid range (1024-49151) : ${port}`);
  }
  if (port !== 0 && port !== DATA_PATH_PORT) settings.dataPathPort = port;
  const subnetLength = size === 0 ? DOCKER_SUBNET_LENGTH : size;
  if (asked.length === 0 && subnetLength === DOCKER_SUBNET_LENGTH) return settings;
  if (subnetLength > LONGEST_SUBNET_LENGTH) throw invalid(`subnet size is out of range: ${subnetLength}`);
  const pools = (asked.length === 0 ? [DEFAULT_POOL] : asked).map((text) => poolOf(text.trim(), subnetLength));
  settings.addressPools = { pools, subnetLength };
  return settings;
}

function poolOf(text: string, subnetLength: number): string {
  let pool: ReturnType<typeof parseIpNetwork>;
  try {
    pool = parseIpNetwork(text);
  } catch (error) {
    throw invalid(`invalid base pool ${text}: ${messageOf(error)}`);
  }
  if (pool.bits !== 32) throw invalid(`invalid base pool ${text}: expected a network of IPv4`);
  if (subnetLength < pool.length) {
    throw invalid(`invalid CIDR: "${text}". Subnet size is too small for pool: ${subnetLength}`);
  }
  const gateways = parseIpNetwork(GATEWAY_POOL);
  if (networksOverlap(pool, gateways) && pool.length >= gateways.length) {
    throw invalid(`invalid base pool ${text}: each node has a network of its own of ${GATEWAY_POOL}: choose another`);
  }
  return text;
}

/** The UDP port of what is sent between hosts: what `swarm init --data-path-port` asked for, or the default. */
export function dataPathPortOf(cluster: Pick<ClusterRecord, 'dataPathPort'> | undefined): number {
  return cluster?.dataPathPort ?? DATA_PATH_PORT;
}

/** What `swarm init --default-addr-pool` and `--default-addr-pool-mask-length` asked for, or the defaults. */
export function addressPoolsOf(cluster: Pick<ClusterRecord, 'addressPools'> | undefined): {
  pools: string[];
  subnetLength: number;
} {
  return cluster?.addressPools ?? { pools: [DEFAULT_POOL], subnetLength: DEFAULT_SUBNET_LENGTH };
}
