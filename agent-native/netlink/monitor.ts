import { binding, type NativeMonitor } from '../binding.js';
import { rethrow } from '../kernel-error.js';
import { type NamespaceRef, namespacePath } from '../namespace.js';

export interface MonitorOptions {
  /** Of netlink, by its number in linux/netlink.h. */
  protocol: number;
  /** What is told of, by the protocol's numbers. */
  groups: readonly number[];
  /** Messages, many at a time; null when some were lost. */
  listener: (messages: Buffer | null) => void;
  /** It is over, and not because it was closed. */
  onFailure: (error: Error) => void;
  /** By default this process's. */
  namespace: NamespaceRef | undefined;
}

/**
 * Has the kernel tell of changes, until what is returned is closed: a thread and a descriptor.
 *
 * @returns when everything that changes from now on will be told
 * @throws KernelError when there is no such namespace, or the kernel has no such protocol
 */
export async function startMonitor({
  protocol,
  groups,
  listener,
  onFailure,
  namespace,
}: MonitorOptions): Promise<NativeMonitor> {
  const monitor = new binding.NetlinkMonitor();
  await new Promise<void>((resolve, reject) => {
    let isStarted = false;
    monitor.start(namespace && namespacePath(namespace, 'net'), protocol, Uint32Array.from(groups), (news) => {
      if (news === undefined) {
        isStarted = true;
        resolve();
      } else if (news instanceof Error) {
        monitor.close();
        if (isStarted) onFailure(news);
        else reject(news);
      } else {
        listener(news);
      }
    });
  }).catch((error) => rethrow(error));
  return monitor;
}
