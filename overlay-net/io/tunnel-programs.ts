import { Assembler, BPF_FUNCTIONS, type BpfEntry, type BpfMap, type Instructions } from '@apiary/agent-native';
import { addressBytes, type GatewayPeer, type TunnelEnd } from '../core/index.js';

/**
 * Next hop's address on the gateway networks (as in its MAC address) -> this host's address on the wire, the other's, the
 * port (2 bytes, 2 of nothing), what of the IP header's checksum is always the same, this host's gateway address, and the index
 * of the link that leads there.
 */
export const WAY_BYTES = { key: 4, value: 24 } as const;
/**
 * The other's address on the wire, this host's -> the other's gateway address, this host's, the port (2 bytes, 2 of
 * nothing), and the index of the tunnel.
 */
export const ORIGIN_BYTES = { key: 8, value: 16 } as const;

/** struct __sk_buff of linux/bpf.h. */
const CONTEXT = { length: 0, type: 4, mark: 8, vlan: 20, data: 76, dataEnd: 80, gsoSize: 176 } as const;
/** struct bpf_fib_lookup of linux/bpf.h. */
const LOOKUP = { family: 0, protocol: 1, length: 6, link: 8, source: 16, destination: 32, bytes: 64 } as const;
/** struct bpf_redir_neigh: a family, and 16 bytes for an address. */
const NEXT_HOP_BYTES = 20;
/** What a process of this host sends has this link for the one that it came in by, when routes are looked up. */
const LOOPBACK = 1;

/** Where the headers of the packet around begin, and the frame in it. */
const AT = { ip: 14, udp: 34, vxlan: 42, frame: 50, end: 64 } as const;
/** What is put around the packet: IP, UDP and VXLAN, and the frame's own header. */
const AROUND_BYTES = 50;
const IP_BYTES = 20;

/** As the bytes on the wire are read by this machine, in which the least significant comes first. */
const WIRE = {
  ipv4: 0x0008,
  versionAndLength: 0x0045,
  ttlAndUdp: 0x1140,
  macPrefix: 0x6202,
  vxlanFlags: 0x08,
} as const;
/** Not the bit that forbids fragments. */
const FRAGMENT_BITS = 0xff3f;
const UDP = 17;
const INET = 2;
const TO_THIS_HOST = 0;

/** Lets the next program have the packet, and then the kernel. */
const NEXT = -1;
/** BPF_ADJ_ROOM_MAC: between the frame's header and the IP header. */
const BEHIND_FRAME_HEADER = 1;
/** The room is for IPv4, UDP, and 22 bytes that end with a frame's header. */
const AROUND_FLAGS = (1n << 1n) | (1n << 4n) | (1n << 6n) | (22n << 56n);
const INTO_INGRESS = 1;

export function wayEntry(gateway: string, { local, port }: TunnelEnd, peer: GatewayPeer, underlay: number): BpfEntry {
  const value = Buffer.alloc(WAY_BYTES.value);
  value.set(addressBytes(local), 0);
  value.set(addressBytes(peer.underlay), 4);
  value.writeUInt16BE(port, 8);
  let sum: number = WIRE.versionAndLength + WIRE.ttlAndUdp;
  for (let at = 0; at < 8; at += 2) sum += value.readUInt16LE(at);
  value.writeUInt32LE(sum, 12);
  value.set(addressBytes(gateway), 16);
  value.writeUInt32LE(underlay, 20);
  return { key: addressBytes(peer.gateway), value };
}

export function originEntry(gateway: string, end: TunnelEnd, peer: GatewayPeer, tunnel: number): BpfEntry {
  const value = Buffer.alloc(ORIGIN_BYTES.value);
  value.set(addressBytes(peer.gateway), 0);
  value.set(addressBytes(gateway), 4);
  value.writeUInt16BE(end.port, 8);
  value.writeUInt32LE(tunnel, 12);
  return { key: Buffer.concat([addressBytes(peer.underlay), addressBytes(end.local)]), value };
}

/**
 * At the tunnel's egress: puts what VXLAN puts around a packet there itself, and sends it where the host's routes lead, past
 * the tunnel's device and IP. What it does not know, and large packets that are still to be cut, go by the device.
 */
export function sendingProgram(ways: BpfMap, vni: number): Instructions {
  const AROUND = -56;
  const KEY = -64;
  const ROUTE = -128;
  const HOP = -152;
  const program = begin(AT.udp)
    .load(16, 'r2', 'r7', 12)
    .jumpIf('r2', '!=', WIRE.ipv4, 'next')
    .load(16, 'r2', 'r7', 0)
    .jumpIf('r2', '!=', WIRE.macPrefix, 'next')
    .load(32, 'r2', 'r7', 2)
    .store(32, 'r10', KEY, 'r2')
    .loadMap('r1', ways)
    .mov('r2', 'r10')
    .alu('add', 'r2', KEY)
    .call(BPF_FUNCTIONS.mapLookup)
    .jumpIf('r0', '==', 0, 'next')
    .mov('r8', 'r0')
    .load(32, 'r9', 'r6', CONTEXT.length)
    .alu('add', 'r9', AROUND_BYTES - AT.ip);
  // r8 = the way, r9 = the length of the packet around, without its frame's header.
  route(program, ROUTE);
  const [udp, vxlan, frame] = [AROUND + AT.udp - AT.ip, AROUND + AT.vxlan - AT.ip, AROUND + AT.frame - AT.ip];
  ipHeader(program, AROUND);
  program
    // Each connection has a port of its own, so that its packets keep their order where hosts have several queues or ways.
    .mov('r1', 'r6')
    .call(BPF_FUNCTIONS.skbHash)
    .alu('and', 'r0', 0x3fff)
    .alu('or', 'r0', 0x8000)
    .swapToNetworkOrder('r0', 16)
    .store(16, 'r10', udp, 'r0')
    .load(16, 'r2', 'r8', 8)
    .store(16, 'r10', udp + 2, 'r2')
    .mov('r2', 'r9')
    .alu('sub', 'r2', IP_BYTES)
    .swapToNetworkOrder('r2', 16)
    .store(16, 'r10', udp + 4, 'r2')
    .store(16, 'r10', udp + 6, 0)
    .store(32, 'r10', vxlan, WIRE.vxlanFlags)
    .store(32, 'r10', vxlan + 4, wireVni(vni));
  frameHeader(program, frame, ['r10', KEY], ['r8', 16]);
  program
    .store(16, 'r10', frame + 12, WIRE.ipv4)
    .mov('r1', 'r6')
    .mov('r2', AROUND_BYTES)
    .mov('r3', BEHIND_FRAME_HEADER)
    .loadNumber('r4', AROUND_FLAGS)
    .call(BPF_FUNCTIONS.skbAdjustRoom)
    .jumpIf('r0', '!=', 0, 'next');
  storeBytes(program, AT.ip, AROUND, AROUND_BYTES);
  return (
    program
      // The packet around it must not go the way of the mark.
      .store(32, 'r6', CONTEXT.mark, 0)
      .store(64, 'r10', HOP, INET)
      .store(64, 'r10', HOP + 8, 0)
      .store(32, 'r10', HOP + 16, 0)
      .load(32, 'r2', 'r10', ROUTE + LOOKUP.destination)
      .store(32, 'r10', HOP + 4, 'r2')
      .load(32, 'r1', 'r10', ROUTE + LOOKUP.link)
      .mov('r2', 'r10')
      .alu('add', 'r2', HOP)
      .mov('r3', NEXT_HOP_BYTES)
      .mov('r4', 0)
      .call(BPF_FUNCTIONS.redirectNeighbour)
      .exit()
      .label('next')
      .mov('r0', NEXT)
      .exit()
      .assemble()
  );
}

/**
 * Where packets of other hosts come in: takes what VXLAN has put around them away and has them come in by the tunnel, without
 * a pass through IP for the packet around. Only what one of the others has sent to this host as it should be; everything else
 * goes on as it is.
 */
export function receivingProgram(origins: BpfMap, vni: number): Instructions {
  const KEY = -8;
  const FRAME = -24;
  const program = begin(AT.end)
    .load(32, 'r2', 'r6', CONTEXT.type)
    .jumpIf('r2', '!=', TO_THIS_HOST, 'next')
    .load(32, 'r2', 'r6', CONTEXT.vlan)
    .jumpIf('r2', '!=', 0, 'next')
    .load(16, 'r2', 'r7', 12)
    .jumpIf('r2', '!=', WIRE.ipv4, 'next')
    .load(8, 'r2', 'r7', AT.ip + 9)
    .jumpIf('r2', '!=', UDP, 'next')
    .load(8, 'r2', 'r7', AT.ip)
    .jumpIf('r2', '!=', WIRE.versionAndLength, 'next')
    .load(16, 'r2', 'r7', AT.ip + 6)
    .jumpIf('r2', '&', FRAGMENT_BITS, 'next')
    .load(32, 'r2', 'r7', AT.vxlan)
    .jumpIf('r2', '!=', WIRE.vxlanFlags, 'next')
    .load(32, 'r2', 'r7', AT.vxlan + 4)
    .jumpIf('r2', '!=', wireVni(vni), 'next')
    .load(32, 'r2', 'r7', AT.ip + 12)
    .store(32, 'r10', KEY, 'r2')
    .load(32, 'r2', 'r7', AT.ip + 16)
    .store(32, 'r10', KEY + 4, 'r2')
    .loadMap('r1', origins)
    .mov('r2', 'r10')
    .alu('add', 'r2', KEY)
    .call(BPF_FUNCTIONS.mapLookup)
    .jumpIf('r0', '==', 0, 'next')
    .mov('r8', 'r0')
    .load(16, 'r2', 'r7', AT.udp + 2)
    .load(16, 'r3', 'r8', 8)
    .jumpIf('r2', '!=', 'r3', 'next')
    .load(16, 'r2', 'r7', AT.frame)
    .jumpIf('r2', '!=', WIRE.macPrefix, 'next')
    .load(32, 'r2', 'r7', AT.frame + 2)
    .load(32, 'r3', 'r8', 4)
    .jumpIf('r2', '!=', 'r3', 'next')
    .load(16, 'r2', 'r7', AT.frame + 6)
    .jumpIf('r2', '!=', WIRE.macPrefix, 'next')
    .load(32, 'r2', 'r7', AT.frame + 8)
    .load(32, 'r3', 'r8', 0)
    .jumpIf('r2', '!=', 'r3', 'next')
    .load(16, 'r2', 'r7', AT.frame + 12)
    .jumpIf('r2', '!=', WIRE.ipv4, 'next');
  frameHeader(program, FRAME, ['r8', 4], ['r8', 0]);
  program
    .mov('r1', 'r6')
    .mov('r2', -AROUND_BYTES)
    .mov('r3', BEHIND_FRAME_HEADER)
    .mov('r4', 0)
    .call(BPF_FUNCTIONS.skbAdjustRoom)
    .jumpIf('r0', '!=', 0, 'next');
  storeBytes(program, 0, FRAME, 12);
  return program
    .load(32, 'r1', 'r8', 12)
    .mov('r2', INTO_INGRESS)
    .call(BPF_FUNCTIONS.redirect)
    .exit()
    .label('next')
    .mov('r0', NEXT)
    .exit()
    .assemble();
}

/** r6 = the context, r7 = the packet, of which so many bytes can be read. */
function begin(readBytes: number): Assembler {
  return new Assembler()
    .mov('r6', 'r1')
    .load(32, 'r2', 'r6', CONTEXT.gsoSize)
    .jumpIf('r2', '!=', 0, 'next')
    .load(32, 'r7', 'r6', CONTEXT.data)
    .load(32, 'r3', 'r6', CONTEXT.dataEnd)
    .mov('r2', 'r7')
    .alu('add', 'r2', readBytes)
    .jumpIf('r2', '>', 'r3', 'next');
}

/**
 * Looks up by which link and which next hop a packet of r9 bytes goes the way r8, as it would if the host sent it. The kernel's
 * own way is for those whose next hop is still to be found: it would send a packet that waits for that on by the tunnel again.
 */
function route(program: Assembler, at: number): void {
  for (let offset = 0; offset < LOOKUP.bytes; offset += 8) program.store(64, 'r10', at + offset, 0);
  program
    .store(8, 'r10', at + LOOKUP.family, INET)
    .store(8, 'r10', at + LOOKUP.protocol, UDP)
    .store(16, 'r10', at + LOOKUP.length, 'r9')
    .store(32, 'r10', at + LOOKUP.link, LOOPBACK)
    .load(32, 'r2', 'r8', 0)
    .store(32, 'r10', at + LOOKUP.source, 'r2')
    .load(32, 'r2', 'r8', 4)
    .store(32, 'r10', at + LOOKUP.destination, 'r2')
    .mov('r1', 'r6')
    .mov('r2', 'r10')
    .alu('add', 'r2', at)
    .mov('r3', LOOKUP.bytes)
    .mov('r4', 0)
    .call(BPF_FUNCTIONS.fibLookup)
    .jumpIf('r0', '!=', 0, 'next')
    // Others may be none of Ethernet, or want more of a packet than this does.
    .load(32, 'r2', 'r10', at + LOOKUP.link)
    .load(32, 'r3', 'r8', 20)
    .jumpIf('r2', '!=', 'r3', 'next');
}

/** The IP header of a packet of r9 bytes that goes the way r8. */
function ipHeader(program: Assembler, at: number): void {
  program
    .call(BPF_FUNCTIONS.randomU32)
    .alu('and', 'r0', 0xffff)
    .mov('r3', 'r9')
    .swapToNetworkOrder('r3', 16)
    .store(16, 'r10', at, WIRE.versionAndLength)
    .store(16, 'r10', at + 2, 'r3')
    .store(16, 'r10', at + 4, 'r0')
    .store(16, 'r10', at + 6, 0)
    .store(16, 'r10', at + 8, WIRE.ttlAndUdp)
    .load(32, 'r2', 'r8', 0)
    .store(32, 'r10', at + 12, 'r2')
    .load(32, 'r2', 'r8', 4)
    .store(32, 'r10', at + 16, 'r2')
    // The sum of all words, with its carry added to it (RFC 1071).
    .alu('add', 'r3', 'r0')
    .load(32, 'r2', 'r8', 12)
    .alu('add', 'r3', 'r2');
  for (let i = 0; i < 2; i++) {
    program.mov('r2', 'r3').alu('rsh', 'r2', 16).alu('and', 'r3', 0xffff).alu('add', 'r3', 'r2');
  }
  program.alu('xor', 'r3', 0xffff).store(16, 'r10', at + 10, 'r3');
}

/** A frame's MAC addresses, of gateway addresses at these places. */
function frameHeader(
  program: Assembler,
  at: number,
  ...places: readonly [to: readonly ['r8' | 'r10', number], from: readonly ['r8' | 'r10', number]]
): void {
  for (const [i, [register, offset]] of places.entries()) {
    program
      .store(16, 'r10', at + 6 * i, WIRE.macPrefix)
      .load(16, 'r2', register, offset)
      .store(16, 'r10', at + 6 * i + 2, 'r2')
      .load(16, 'r2', register, offset + 2)
      .store(16, 'r10', at + 6 * i + 4, 'r2');
  }
}

/** From the stack into the packet. */
function storeBytes(program: Assembler, at: number, from: number, bytes: number): void {
  program
    .mov('r1', 'r6')
    .mov('r2', at)
    .mov('r3', 'r10')
    .alu('add', 'r3', from)
    .mov('r4', bytes)
    .mov('r5', 0)
    .call(BPF_FUNCTIONS.skbStoreBytes);
}

/** With 8 bits of nothing behind it. */
function wireVni(vni: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUIntBE(vni, 0, 3);
  return bytes.readUInt32LE();
}
