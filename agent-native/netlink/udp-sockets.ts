import type { NativeSocket } from '../binding.js';
import { KernelError, rethrow } from '../kernel-error.js';
import type { NamespaceRef } from '../namespace.js';
import { AF_INET, AF_INET6, formatIp } from './ip-address.js';
import { MessageWriter, messagesIn } from './message.js';
import { openSocket } from './socket.js';

const NETLINK_SOCK_DIAG = 4;
const RECEIVE_BYTES = 1 << 20;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const IPPROTO_UDP = 17;
/** Of UDP those that are connected. */
const TCP_ESTABLISHED = 1;
/** Of an inet_diag_msg: what comes before its inet_diag_sockid, that, and the peer's place in it. */
const SOCKET = { start: 4, bytes: 48, peer: 20, peerBytes: 16 } as const;
const NOBODY = Buffer.alloc(SOCKET.bytes);
const ENOENT = 2;
/** How many are ended in one call. */
const SLICE = 500;

/**
 * Ends the UDP sockets of a network namespace that are connected to one of the peers, whichever process has them: what waits on one
 * gets ECONNABORTED, and it is connected to nobody any more.
 *
 * @param peers  addresses; an IPv4 address is also meant where a socket of IPv6 is connected to it (`::ffff:10.0.0.5`)
 * @returns      how many there were
 * @throws KernelError when there is no such namespace, or the kernel cannot (`CONFIG_INET_DIAG_DESTROY`)
 */
export async function endUdpSockets(namespace: NamespaceRef, peers: ReadonlySet<string>): Promise<number> {
  const socket = await openSocket(NETLINK_SOCK_DIAG, RECEIVE_BYTES, namespace);
  try {
    let ended = 0;
    for (const family of [AF_INET, AF_INET6]) {
      const connected = await connectedSockets(socket, family, peers);
      for (let first = 0; first < connected.length; first += SLICE) {
        const slice = connected.slice(first, first + SLICE);
        await endAll(socket, family, slice);
        ended += slice.length;
      }
    }
    return ended;
  } catch (error) {
    return rethrow(error);
  } finally {
    await socket.close();
  }
}

/** Their inet_diag_sockids. */
async function connectedSockets(socket: NativeSocket, family: number, peers: ReadonlySet<string>): Promise<Buffer[]> {
  const writer = new MessageWriter();
  writer.dump(SOCK_DIAG_BY_FAMILY, () => writeRequest(writer, family, NOBODY));
  const { errors, replies } = await socket.run(...writer.finish(), true);
  const [error] = errors;
  if (error !== undefined) throw new KernelError(error.errno, 'list UDP sockets', error.text);
  return replies.flatMap(({ bytes }) =>
    [...messagesIn(bytes)].flatMap(({ type, body }) => {
      if (type !== SOCK_DIAG_BY_FAMILY || body.length < SOCKET.start + SOCKET.bytes) return [];
      const id = body.subarray(SOCKET.start, SOCKET.start + SOCKET.bytes);
      const length = family === AF_INET ? 4 : SOCKET.peerBytes;
      const peer = formatIp(id.subarray(SOCKET.peer, SOCKET.peer + length));
      return peers.has(peer.replace(/^::ffff:(?=\d+\.)/, '')) ? [id] : [];
    }),
  );
}

/** Those that are closed meanwhile are passed over. */
async function endAll(socket: NativeSocket, family: number, ids: readonly Buffer[]): Promise<void> {
  const writer = new MessageWriter();
  for (const id of ids) writer.message(SOCK_DESTROY, 0, undefined, () => writeRequest(writer, family, id));
  const { errors } = await socket.run(...writer.finish(), false);
  const error = errors.find(({ errno }) => errno !== ENOENT);
  if (error !== undefined) throw new KernelError(error.errno, 'end a UDP socket', error.text);
}

/** An inet_diag_req_v2. */
function writeRequest(writer: MessageWriter, family: number, id: Buffer): void {
  writer.u8(family);
  writer.u8(IPPROTO_UDP);
  writer.u16(0);
  writer.u32(1 << TCP_ESTABLISHED);
  writer.bytes(id);
}
