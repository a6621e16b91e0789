import type { Socket } from 'node:net';
import { binding } from './binding.js';
import { rethrow } from './kernel-error.js';

/** Who connected: as the kernel saw it then (SO_PEERCRED). */
export interface SocketPeer {
  /** 0 for a process of another pid namespace that is not seen from here. */
  pid: number;
  uid: number;
  gid: number;
}

/**
 * Who is at the other end of a unix socket.
 *
 * @returns undefined for a socket that is closed already
 * @throws KernelError when the kernel does not say
 */
export function socketPeer(socket: Socket): SocketPeer | undefined {
  // Node knows the descriptor, and has no public name for it.
  const handle: unknown = Reflect.get(socket, '_handle');
  const descriptor = typeof handle === 'object' && handle !== null && 'fd' in handle ? Number(handle.fd) : -1;
  if (descriptor < 0) return undefined;
  try {
    return binding.socketPeer(descriptor);
  } catch (error) {
    rethrow(error);
  }
}
