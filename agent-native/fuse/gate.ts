import { constants } from 'node:os';
import { binding } from '../binding.js';
import { rethrow } from '../kernel-error.js';
import { unmount } from '../mount.js';
import {
  answer,
  attributesBody,
  type FuseRequest,
  forgottenNodes,
  initBody,
  linkEntryBody,
  nameOf,
  OPCODE,
  openBody,
  ROOT_NODE,
  readRequest,
  statfsBody,
} from './protocol.js';

const { ENOENT, ENOSYS, EIO, ESTALE } = constants.errno;
const NOTHING = Buffer.alloc(0);
const MOUNT_FLAGS = 2 | 4 | 8; // nosuid, nodev, noexec

export interface GateOptions {
  /** An existing folder. What an earlier process left mounted there is taken away. */
  mountPoint: string;
  /**
   * Where the name leads: an absolute path, or undefined when there is no such name. Whoever looked it up waits in the
   * kernel until this settles; when it rejects, they get EIO.
   */
  resolve: (name: string, asker: { pid: number }) => Promise<string | undefined>;
  /** Somebody unmounted it, or the kernel refuses: names lead nowhere any more. */
  onLost: (error: Error) => void;
}

export interface Gate {
  /** Unmounts. Those who wait get an error. */
  close(): void;
}

/**
 * A folder in which every name is a symbolic link that is made up when it is looked up, every time anew. So something
 * can be done in the moment in which a process walks through the path and before it comes out: a mount whose source
 * lies behind the gate holds up whoever mounts it, in whatever namespaces they are by then.
 *
 * @throws KernelError when the kernel has no FUSE, or this process may not mount
 */
export async function openGate({ mountPoint, resolve, onLost }: GateOptions): Promise<Gate> {
  await unmount(mountPoint, { flags: ['detach'] }).catch(() => {});
  const channel = new binding.FuseChannel();
  const targets = new Map<bigint, string>();
  let lastNode = ROOT_NODE;

  const lookUp = async (request: FuseRequest): Promise<Buffer> => {
    const target = await resolve(nameOf(request), { pid: request.pid });
    if (target === undefined) return answer(request.unique, NOTHING, ENOENT);
    lastNode++;
    targets.set(lastNode, target);
    return answer(request.unique, linkEntryBody(lastNode));
  };
  /** The answer that is known at once; undefined when there is none, or not yet. */
  const answerTo = (request: FuseRequest): Buffer | undefined => {
    const { opcode, unique, node } = request;
    switch (opcode) {
      case OPCODE.init:
        return answer(unique, initBody());
      case OPCODE.lookup:
        lookUp(request)
          .catch(() => answer(unique, NOTHING, EIO))
          .then((bytes) => channel.reply(bytes));
        return undefined;
      case OPCODE.getattr:
        return answer(unique, attributesBody(node));
      case OPCODE.readlink: {
        const target = targets.get(node);
        return target === undefined ? answer(unique, NOTHING, ESTALE) : answer(unique, Buffer.from(target));
      }
      case OPCODE.forget:
      case OPCODE.batchForget:
        for (const forgotten of forgottenNodes(request)) targets.delete(forgotten);
        return undefined;
      case OPCODE.statfs:
        return answer(unique, statfsBody());
      // An empty folder, to who lists it.
      case OPCODE.opendir:
        return answer(unique, openBody());
      case OPCODE.readdir:
      case OPCODE.releasedir:
        return answer(unique, NOTHING);
      // The kernel waits for an answer to neither.
      case OPCODE.interrupt:
      case OPCODE.destroy:
        return undefined;
      default:
        return answer(unique, NOTHING, ENOSYS);
    }
  };
  try {
    channel.start('apiary-gate', mountPoint, MOUNT_FLAGS, 'rootmode=40000,user_id=0,group_id=0,allow_other', (news) => {
      if (news instanceof Error) {
        // What it holds is of no use any more, and its place is for the next one.
        channel.close();
        onLost(news);
        return;
      }
      const request = readRequest(news);
      const bytes = request && answerTo(request);
      if (bytes !== undefined) channel.reply(bytes);
    });
  } catch (error) {
    rethrow(error);
  }
  return { close: () => channel.close() };
}
