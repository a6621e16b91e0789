import { readFile, stat } from 'node:fs/promises';
import type { Gate, GateOptions } from '@apiary/agent-native';
import type { TaskAttachment } from '@apiary/overlay-net/core';
import type {
  GatewayNetwork,
  GatewayNetworkOptions,
  HostVips,
  HostVipsOptions,
  NameServer,
  NameServerOptions,
  NamespaceNames,
  NamespaceNamesOptions,
  OverlayNetwork,
  OverlayNetworkOptions,
} from '@apiary/overlay-net/io';

import { ApiaryError, systemCodeOf } from '@apiary/std';
import { type Reservation, reserveOnHost } from './host-ports.js';

/** A gateway network, as far as tasks are concerned. */
export type Gateway = Pick<
  GatewayNetwork,
  'attach' | 'ipv6Addresses' | 'ipv6AddressOf' | 'isAttached' | 'look' | 'names' | 'apply' | 'publish' | 'close'
>;
/** The overlay networks. */
export type Overlay = Pick<
  OverlayNetwork,
  'wireguardKey' | 'apply' | 'attach' | 'found' | 'forget' | 'offer' | 'retract' | 'close'
>;
export type Names = Pick<NameServer, 'apply' | 'know' | 'forget' | 'answer' | 'close'>;

export type Vips = Pick<HostVips, 'apply' | 'close'>;
/** Names in the namespace of a container that is no task. */
export type ContainerNames = Pick<NamespaceNames, 'attachments' | 'close'>;

/** What is asked of the kernel. */
export interface GatewaySystem {
  /** @throws Error that says why this host has none */
  openGate(options: GateOptions): Promise<Gate>;
  openGateway(options: GatewayNetworkOptions): Promise<Gateway>;
  openOverlay(options: OverlayNetworkOptions): Promise<Overlay>;
  /** @throws Error when the port is somebody else's */
  openNames(options: NameServerOptions): Promise<Names>;
  /** @throws Error that says why this host has none */
  openVips(options: HostVipsOptions): Promise<Vips>;
  /** Takes away whatever of VIPs is on this host. */
  removeVips(directory: string): Promise<void>;
  /** Takes away whatever of a gateway network and of overlay networks is on this host. */
  removeGateway(): Promise<void>;
  /** Which network namespace a process is in, undefined: our own. @throws Error when there is no such process */
  namespaceOf(pid: number): Promise<number | undefined>;
  /** By which BPF programs know the network namespace of a process; undefined where the kernel does not tell. */
  cookieOf(pid: number): Promise<bigint | undefined>;
  /** The network namespace that a file stands for. @throws Error when it stands for none, or for this host's own */
  namespaceAt(path: string): Promise<{ inode: number; cookie: bigint | undefined }>;
  /** @throws Error when the namespace is gone */
  openNamespaceNames(options: NamespaceNamesOptions, attachments: readonly TaskAttachment[]): Promise<ContainerNames>;
  /** Keeps a port of this host from others. @throws Error with the code `EADDRINUSE` when somebody has it */
  reserve(protocol: string, port: number, address: string): Promise<Reservation>;
  /** The name servers of this host's own /etc/resolv.conf. */
  resolvers(): Promise<string[]>;
}

/** The Linux kernel's. The addon is loaded with the first call: a node that runs no tasks does without. */
export const LINUX: GatewaySystem = {
  async openGate(options) {
    const { openGate } = await import('@apiary/agent-native');
    return openGate(options);
  },
  async openGateway(options) {
    const { GatewayNetwork } = await import('@apiary/overlay-net/io');
    return GatewayNetwork.open(options);
  },
  async openOverlay(options) {
    const { OverlayNetwork } = await import('@apiary/overlay-net/io');
    return OverlayNetwork.open(options);
  },
  async openNames(options) {
    const { NameServer } = await import('@apiary/overlay-net/io');
    return NameServer.listen(options);
  },
  async openVips(options) {
    const { HostVips } = await import('@apiary/overlay-net/io');
    return HostVips.open(options);
  },
  async removeVips(directory) {
    const { removeHostVips } = await import('@apiary/overlay-net/io');
    await removeHostVips(directory);
  },
  async removeGateway() {
    const { removeGatewayNetwork, removeOverlayNetwork } = await import('@apiary/overlay-net/io');
    await removeOverlayNetwork();
    await removeGatewayNetwork();
  },
  async namespaceOf(pid) {
    // One that is in no process namespace of ours is nobody's that we start.
    if (pid === 0) return undefined;
    const [own, theirs] = await Promise.all([stat('/proc/self/ns/net'), stat(`/proc/${pid}/ns/net`)]);
    return own.ino === theirs.ino ? undefined : theirs.ino;
  },
  async cookieOf(pid) {
    const { networkNamespaceCookie } = await import('@apiary/agent-native');
    return networkNamespaceCookie({ pid }).catch(() => undefined);
  },
  async namespaceAt(path) {
    const { networkNamespaceCookie } = await import('@apiary/agent-native');
    const [own, { ino: inode }] = await Promise.all([stat('/proc/self/ns/net'), stat(path)]);
    if (inode === own.ino) throw new ApiaryError('failed-precondition', `${path}: this host's own network namespace`);
    const cookie = await networkNamespaceCookie({ path }).catch((error: unknown) => {
      if (systemCodeOf(error) === 'ENOPROTOOPT') return undefined;
      throw error;
    });
    return { inode, cookie };
  },
  async openNamespaceNames(options, attachments) {
    const { NamespaceNames } = await import('@apiary/overlay-net/io');
    return NamespaceNames.open(options, attachments);
  },
  reserve: reserveOnHost,
  async resolvers() {
    // Read anew each time: it is what counts for the host's own processes too.
    const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
    return text.split('\n').flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
  },
};
