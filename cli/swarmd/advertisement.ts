import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { formatHostPort, parseHostPort } from '@apiary/api/model';
import type { Logger } from 'pino';
import {
  hostAddresses,
  type Interfaces,
  ipv4Of,
  isLocalAddress,
  resolveAdvertiseAddr,
  resolveDataPathAddr,
  resolveListenAddr,
} from './address.js';
import { managerAddrOf, type NodeFile, writeNodeFile } from './node-file.js';

/** What the node file keeps of where this node is reached and listens. */
export type Advertisement = Pick<
  NodeFile,
  'advertise' | 'advertiseAddr' | 'isAdvertisedLocal' | 'advertisePort' | 'dataPath' | 'listenAddr'
>;

/** Of a request to make a cluster, or to join one. */
export interface AskedAddresses {
  AdvertiseAddr?: string | undefined;
  ListenAddr?: string | undefined;
  DataPathAddr?: string | undefined;
}

/**
 * Where this node is reached, as its user asked for it at `init` or `join`.
 *
 * @throws ApiaryError `invalid-argument`, with Docker's words when there are several addresses to choose from
 */
export function advertisementOf(asked: AskedAddresses, interfaces: Interfaces = networkInterfaces()): Advertisement {
  const { AdvertiseAddr: advertise = '', ListenAddr: listenAddr = '', DataPathAddr: dataPath = '' } = asked;
  resolveDataPathAddr(dataPath, interfaces);
  const { host, port } = resolveAdvertiseAddr(advertise, interfaces);
  const listen = resolveListenAddr(listenAddr, interfaces);
  return {
    advertise,
    advertiseAddr: host,
    isAdvertisedLocal: isLocalAddress(host, interfaces),
    // A listen port of one's own is what others must call, unless the advertised address names another.
    advertisePort: /:\d+$/.test(advertise) ? port : listen.port,
    ...(dataPath !== '' && { dataPath }),
    listenAddr,
  };
}

/** The command line says this when it was told nothing. */
const DEFAULT_LISTEN_ADDR = '0.0.0.0:2377';

/** What is kept, with what its user asks for put in. @throws ApiaryError `invalid-argument` */
export function advertisementAnew(kept: Advertisement, asked: AskedAddresses): Advertisement {
  const { AdvertiseAddr: advertise = '', ListenAddr: listen = '' } = asked;
  const dataPath = asked.DataPathAddr || kept.dataPath;
  resolveDataPathAddr(dataPath);
  const listenAddr = ['', DEFAULT_LISTEN_ADDR].includes(listen) ? kept.listenAddr : listen;
  if (advertise !== '') {
    return advertisementOf({ AdvertiseAddr: advertise, ListenAddr: listenAddr, DataPathAddr: dataPath });
  }
  const { advertiseAddr, isAdvertisedLocal, advertisePort } = kept;
  const isSame = listenAddr === kept.listenAddr;
  const port = isSame ? advertisePort : resolveListenAddr(listenAddr).port;
  const addresses = { advertise: kept.advertise, advertiseAddr, isAdvertisedLocal, advertisePort: port, listenAddr };
  return { ...addresses, ...(dataPath !== undefined && { dataPath }) };
}

/** Where this node's manager listens, `HOST:PORT`. @throws ApiaryError `invalid-argument` */
export function listenAddrOf(file: Advertisement, interfaces: Interfaces = networkInterfaces()): string {
  return formatHostPort(resolveListenAddr(file.listenAddr, interfaces));
}

/**
 * The advertisement as it holds now, when the daemon starts again: the address of the interface that was asked for, or,
 * when what was this host's own address is so no more, the only one that it has. One that never was this host's (a
 * router's in front of it) stays. Who listened at the address that moved listens at the new one.
 *
 * @returns what is wrong with it, when it had to stay as it was all the same
 */
export function advertisementNow<A extends Advertisement>(
  kept: A,
  interfaces: Interfaces = networkInterfaces(),
): { now: A; problem?: string } {
  const { advertise, advertiseAddr: before, isAdvertisedLocal, listenAddr } = kept;
  const asked = advertise === '' ? '' : parseHostPort(advertise, 'advertise address').host;
  let after: string | undefined;
  let problem = '';
  if (asked !== '' && isIP(asked) === 0) {
    after = ipv4Of(asked, interfaces);
    problem = `interface "${asked}" has no IPv4 address now`;
  } else if (!isAdvertisedLocal || isLocalAddress(before, interfaces)) {
    after = before;
  } else {
    const found = hostAddresses(interfaces);
    after = found.length === 1 ? found[0] : undefined;
    const instead = found.length === 0 ? 'none' : `${found.join(', ')}, of which none can be chosen`;
    problem = `${before} is no address of this host any more: it has ${instead}`;
  }
  if (after === undefined) return { now: kept, problem };
  if (after === before) return { now: kept };
  const listen = listenAddr === '' ? undefined : parseHostPort(listenAddr, 'listen address');
  const moved = listen?.host === before ? formatHostPort({ host: after, port: listen.port }) : listenAddr;
  return { now: { ...kept, advertiseAddr: after, listenAddr: moved } };
}

/** Looks up where this node is reached now, and writes it down when it is elsewhere than before. */
export async function readvertise(
  { dataRoot, logger }: { dataRoot: string; logger: Logger },
  kept: NodeFile,
): Promise<NodeFile> {
  const { now, problem } = advertisementNow(kept);
  const { advertiseAddr: before, nodeId } = kept;
  if (problem !== undefined) {
    logger.warn(
      { advertiseAddr: before },
      `${problem}; other nodes are still told ${before}: if they do not reach this one, leave and join with --advertise-addr`,
    );
  }
  if (now.advertiseAddr === before) return kept;
  logger.warn({ before, after: now.advertiseAddr }, 'the address of this host has changed: the new one is advertised');
  const addr = managerAddrOf(now);
  const file = {
    ...now,
    managers: kept.managers.map((manager) => (manager.nodeId === nodeId ? { nodeId, addr } : manager)),
  };
  await writeNodeFile(dataRoot, file);
  return file;
}
