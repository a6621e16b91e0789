import { Assembler, BPF_FUNCTIONS, type BpfAttachType, type BpfMap, type Instructions } from '@apiary/agent-native';
import { MOST_VIP_BACKENDS, parseIpv4, type VipMember, type VipRow } from '../core/index.js';

/** VIP (4 bytes, network order) -> VNI, number of backends (4 bytes each), backends (4 bytes each, network order). */
export const VIP_BYTES = { key: 4, value: 8 + 4 * MOST_VIP_BACKENDS } as const;
/** Network namespace cookie (8 bytes), VNI (4), 4 of nothing -> 1. */
export const MEMBER_BYTES = { key: 16, value: 4 } as const;
/** Socket cookie (8 bytes), backend (4), port (4, the first two in network order) -> the VIP that was asked for. */
export const ORIGIN_BYTES = { key: 16, value: 4 } as const;

export interface VipMaps {
  vips: BpfMap;
  members: BpfMap;
  origins: BpfMap;
}

/** struct bpf_sock_addr of linux/bpf.h. */
const CONTEXT = { ip4: 4, ip6: 8, port: 24 } as const;
/** The third word of ::ffff:0:0/96, as this machine reads it. */
const MAPPED_PREFIX = 0xffff0000;
const ECONNREFUSED = 111;

/**
 * Programs that have sockets talk to a live task where they were told to talk to a VIP, by where they hook in. Sockets of
 * IPv6 do so for IPv4 addresses written as theirs, which many languages use throughout; what they send without connecting
 * passes the hook of IPv4.
 */
export function vipPrograms(maps: VipMaps): Map<BpfAttachType, Instructions> {
  return new Map([
    ['connect4', choosing(maps, 'ipv4', 'random')],
    ['connect6', choosing(maps, 'ipv6', 'random')],
    ['sendmsg4', choosing(maps, 'ipv4', 'by socket')],
    ['recvmsg4', restoring(maps, 'ipv4')],
    ['recvmsg6', restoring(maps, 'ipv6')],
    ['getpeername4', restoring(maps, 'ipv4')],
    ['getpeername6', restoring(maps, 'ipv6')],
  ]);
}

export function vipEntry({ vip, vni, backends }: VipRow): { key: Buffer; value: Buffer } {
  const value = Buffer.alloc(VIP_BYTES.value);
  value.writeUInt32LE(vni, 0);
  value.writeUInt32LE(backends.length, 4);
  for (const [i, address] of backends.entries()) value.writeUInt32BE(parseIpv4(address) ?? 0, 8 + 4 * i);
  return { key: addressBytes(vip), value };
}

export function memberEntry({ namespaceCookie, vni }: VipMember): { key: Buffer; value: Buffer } {
  const key = Buffer.alloc(MEMBER_BYTES.key);
  key.writeBigUInt64LE(namespaceCookie, 0);
  key.writeUInt32LE(vni, 8);
  const value = Buffer.alloc(MEMBER_BYTES.value);
  value.writeUInt32LE(1, 0);
  return { key, value };
}

function addressBytes(address: string): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(parseIpv4(address) ?? 0, 0);
  return bytes;
}

type Family = 'ipv4' | 'ipv6';

/** Offset of the four bytes of an IPv4 address. */
function addressAt(family: Family): number {
  return family === 'ipv4' ? CONTEXT.ip4 : CONTEXT.ip6 + 12;
}

/** r6 = the context; goes on to `pass` with what is no IPv4 address. */
function begin(family: Family): Assembler {
  const program = new Assembler().mov('r6', 'r1');
  if (family === 'ipv4') return program;
  return program
    .load(32, 'r2', 'r6', CONTEXT.ip6)
    .jumpIf('r2', '!=', 0, 'pass')
    .load(32, 'r2', 'r6', CONTEXT.ip6 + 4)
    .jumpIf('r2', '!=', 0, 'pass')
    .load(32, 'r2', 'r6', CONTEXT.ip6 + 8)
    .jumpIf('r2', '!=', MAPPED_PREFIX, 'pass', 32);
}

/** r0 = the value of the key at this place on the stack, or 0. */
function lookUp(program: Assembler, map: BpfMap, keyAt: number): Assembler {
  return program.loadMap('r1', map).mov('r2', 'r10').alu('add', 'r2', keyAt).call(BPF_FUNCTIONS.mapLookup);
}

/**
 * Puts a backend in the place of a VIP, for those who are on its network, and remembers what was asked for. Who connects
 * gets any; who only sends the same one again for as long as there is no other set of them.
 */
function choosing({ vips, members, origins }: VipMaps, family: Family, choice: 'random' | 'by socket'): Instructions {
  const VIP = -4;
  const MEMBER = -24;
  const ORIGIN = -40;
  const program = begin(family).load(32, 'r7', 'r6', addressAt(family)).store(32, 'r10', VIP, 'r7');
  lookUp(program, vips, VIP)
    .jumpIf('r0', '==', 0, 'pass')
    .mov('r8', 'r0')
    .mov('r1', 'r6')
    .call(BPF_FUNCTIONS.netnsCookie)
    .store(64, 'r10', MEMBER, 'r0')
    .load(32, 'r2', 'r8', 0)
    .store(32, 'r10', MEMBER + 8, 'r2')
    .store(32, 'r10', MEMBER + 12, 0);
  lookUp(program, members, MEMBER)
    .jumpIf('r0', '==', 0, 'pass')
    .load(32, 'r9', 'r8', 4)
    .jumpIf('r9', '==', 0, 'refuse')
    .mov('r1', 'r6')
    .call(BPF_FUNCTIONS.socketCookie)
    .store(64, 'r10', ORIGIN, 'r0');
  if (choice === 'random') program.call(BPF_FUNCTIONS.randomU32);
  // Cookies are numbers in a row: multiplied so that neighbours are far apart (Knuth, 6.4).
  else program.alu('mul', 'r0', 0x61c88647).alu('rsh', 'r0', 16);
  program
    .alu('mod', 'r0', 'r9', 32)
    // For the verifier: a row never says that it has more.
    .jumpIf('r0', '>=', MOST_VIP_BACKENDS, 'pass')
    .alu('lsh', 'r0', 2)
    .alu('add', 'r8', 'r0')
    .load(32, 'r9', 'r8', 8)
    .store(32, 'r10', ORIGIN + 8, 'r9')
    .load(32, 'r2', 'r6', CONTEXT.port)
    .store(32, 'r10', ORIGIN + 12, 'r2');
  return lookUp(program, origins, ORIGIN)
    .jumpIf('r0', '==', 0, 'remember')
    .load(32, 'r2', 'r0', 0)
    .jumpIf('r2', '==', 'r7', 'known')
    .label('remember')
    .loadMap('r1', origins)
    .mov('r2', 'r10')
    .alu('add', 'r2', ORIGIN)
    .mov('r3', 'r10')
    .alu('add', 'r3', VIP)
    .mov('r4', 0)
    .call(BPF_FUNCTIONS.mapUpdate)
    .label('known')
    .store(32, 'r6', addressAt(family), 'r9')
    .label('pass')
    .mov('r0', 1)
    .exit()
    .label('refuse')
    .mov('r1', -ECONNREFUSED)
    .call(BPF_FUNCTIONS.setReturnValue)
    .mov('r0', 0)
    .exit()
    .assemble();
}

/** Puts the VIP back in the place of the backend, for the socket that had asked for it. */
function restoring({ origins }: VipMaps, family: Family): Instructions {
  const ORIGIN = -16;
  const program = begin(family)
    .load(32, 'r2', 'r6', addressAt(family))
    .store(32, 'r10', ORIGIN + 8, 'r2')
    .load(32, 'r2', 'r6', CONTEXT.port)
    .store(32, 'r10', ORIGIN + 12, 'r2')
    .mov('r1', 'r6')
    .call(BPF_FUNCTIONS.socketCookie)
    .store(64, 'r10', ORIGIN, 'r0');
  return lookUp(program, origins, ORIGIN)
    .jumpIf('r0', '==', 0, 'pass')
    .load(32, 'r2', 'r0', 0)
    .store(32, 'r6', addressAt(family), 'r2')
    .label('pass')
    .mov('r0', 1)
    .exit()
    .assemble();
}
