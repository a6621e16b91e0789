import type { NativeSocket } from '../binding.js';
import { KernelError, rethrow } from '../kernel-error.js';
import type { NamespaceRef } from '../namespace.js';
import { MessageWriter, messagesIn } from './message.js';
import { openSocket } from './socket.js';

const NETLINK_XFRM = 6;
/** XFRM_MSG_NEWPOLICY and XFRM_MSG_GETPOLICY of linux/xfrm.h. */
const NEW_POLICY = 0x13;
const GET_POLICY = 0x15;
const RECEIVE_BYTES = 1 << 16;

/**
 * The IPsec policies of one network namespace: this process's, or the one given. As with Netlink, it costs a descriptor
 * and a thread until it is closed.
 */
export class IpsecPolicies {
  readonly #socket: NativeSocket;

  private constructor(socket: NativeSocket) {
    this.#socket = socket;
  }

  /**
   * @returns undefined on a kernel without IPsec
   * @throws KernelError when there is no such namespace
   */
  static async open(options: { namespace?: NamespaceRef } = {}): Promise<IpsecPolicies | undefined> {
    try {
      return new IpsecPolicies(await openSocket(NETLINK_XFRM, RECEIVE_BYTES, options.namespace));
    } catch (error) {
      if (error instanceof KernelError && error.code === 'EPROTONOSUPPORT') return undefined;
      throw error;
    }
  }

  /** Ends the connection, after everything that was asked of it before. */
  async close(): Promise<void> {
    await this.#socket.close();
  }

  /**
   * Whether some of what the namespace sends or takes in is under IPsec, or forbidden by it: sockets' own policies are not
   * counted.
   */
  async areThere(): Promise<boolean> {
    const writer = new MessageWriter();
    writer.dump(GET_POLICY, () => {});
    const { errors, replies } = await this.#socket.run(...writer.finish(), true).catch((error) => rethrow(error));
    const [error] = errors;
    if (error !== undefined) throw new KernelError(error.errno, 'list IPsec policies', error.text);
    return replies.some(({ bytes }) => [...messagesIn(bytes)].some(({ type }) => type === NEW_POLICY));
  }
}
