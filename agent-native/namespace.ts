import { binding } from './binding.js';
import { rethrow } from './kernel-error.js';

/** A namespace: the file that stands for it (`/run/netns/web`), or a process that is in it. */
export type NamespaceRef = { readonly path: string } | { readonly pid: number };

/** The file that stands for the namespace of a kind. */
export function namespacePath(ref: NamespaceRef, kind: 'net' | 'mnt'): string {
  return 'pid' in ref ? `/proc/${pidOf(ref.pid)}/ns/${kind}` : ref.path;
}

function pidOf(pid: number): number {
  if (!Number.isInteger(pid) || pid <= 0 || pid > 2 ** 22) throw new TypeError(`a process id is wanted, not ${pid}`);
  return pid;
}

/**
 * Makes a network namespace that lives until it is deleted, mounted on a new file at `path`.
 *
 * The folder must exist. It should be a mount point with shared propagation, as `ip netns` makes /run/netns: elsewhere a
 * mount namespace made meanwhile keeps a copy of the mount, and with it the namespace, after it was deleted here.
 *
 * @throws KernelError: `EEXIST` when there is such a file
 */
export async function createNetworkNamespace(path: string): Promise<void> {
  await binding.createNetworkNamespace(path).catch((error) => rethrow(error));
}

/**
 * Takes the name away from a network namespace; it ends when no process, socket or descriptor is in it any more.
 *
 * @throws KernelError: `ENOENT` when there is none
 */
export async function deleteNetworkNamespace(path: string): Promise<void> {
  await binding.deleteNetworkNamespace(path).catch((error) => rethrow(error));
}

/**
 * The number by which BPF programs know a network namespace (`BPF_FUNCTIONS.netnsCookie`): never used again while the
 * machine is up. Without a reference it is that of this process's own.
 *
 * @throws KernelError: `ENOPROTOOPT` on kernels before 5.14
 */
export async function networkNamespaceCookie(ref?: NamespaceRef): Promise<bigint> {
  return await binding.networkNamespaceCookie(ref && namespacePath(ref, 'net')).catch((error) => rethrow(error));
}

/** Where a socket is, and what it is connected to. */
export interface SocketEnds {
  kind: 'udp' | 'tcp';
  /** Its own, of IPv4. */
  address: string;
  /** Any that is free when there is none, or 0. */
  port?: number;
  /** What it is to be connected to, which is waited for: for peers that are near. Without one, a TCP socket listens. */
  peer?: { address: string; port: number };
  /** Room for what waits to be read, whatever the system's bound is (`net.core.rmem_max`); by default what it gives. */
  receiveBytes?: number;
}

/**
 * A socket of a network namespace, that stays there.
 *
 * @returns its descriptor, which is the caller's to close; it does not block
 * @throws KernelError
 */
export async function openSocketIn(ref: NamespaceRef, ends: SocketEnds): Promise<number> {
  const { kind, address, port = 0, peer = { address: '0.0.0.0', port: 0 }, receiveBytes = 0 } = ends;
  const path = namespacePath(ref, 'net');
  return await binding
    .openSocket(kind === 'tcp', address, port, peer.address, peer.port, path, receiveBytes)
    .catch((error) => rethrow(error));
}
