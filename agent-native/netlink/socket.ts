import { binding, type NativeSocket } from '../binding.js';
import { rethrow } from '../kernel-error.js';
import { type NamespaceRef, namespacePath } from '../namespace.js';

/**
 * A socket of a netlink protocol, by its number in linux/netlink.h, in this process's network namespace or the one given.
 *
 * @throws KernelError when there is no such namespace, or the kernel has no such protocol
 */
export async function openSocket(
  protocol: number,
  receiveBytes: number,
  namespace: NamespaceRef | undefined,
): Promise<NativeSocket> {
  const socket = new binding.NetlinkSocket();
  try {
    await socket.open(namespace && namespacePath(namespace, 'net'), protocol, receiveBytes);
    return socket;
  } catch (error) {
    await socket.close();
    return rethrow(error);
  }
}
