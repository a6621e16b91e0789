import { binding } from '../binding.js';
import { KernelError, rethrow } from '../kernel-error.js';
import { MessageWriter, messagesIn } from './message.js';

const NETLINK_XFRM = 6;
/** XFRM_MSG_NEWPOLICY and XFRM_MSG_GETPOLICY of linux/xfrm.h. */
const NEW_POLICY = 0x13;
const GET_POLICY = 0x15;
const RECEIVE_BYTES = 1 << 16;
const EPROTONOSUPPORT = 93;

/**
 * Whether some of what this process's network namespace sends or takes in is under IPsec, or forbidden by it: sockets' own
 * policies are not counted.
 */
export async function hasIpsecPolicies(): Promise<boolean> {
  const socket = new binding.NetlinkSocket();
  try {
    await socket.open(undefined, NETLINK_XFRM, RECEIVE_BYTES);
    const writer = new MessageWriter();
    writer.dump(GET_POLICY, () => {});
    const { errors, replies } = await socket.run(...writer.finish(), true);
    const [error] = errors;
    if (error !== undefined) throw new KernelError(error.errno, 'list IPsec policies', error.text);
    return replies.some(({ bytes }) => [...messagesIn(bytes)].some(({ type }) => type === NEW_POLICY));
  } catch (error) {
    // A kernel without IPsec.
    if (error instanceof Error && 'errno' in error && error.errno === EPROTONOSUPPORT) return false;
    return rethrow(error);
  } finally {
    await socket.close();
  }
}
