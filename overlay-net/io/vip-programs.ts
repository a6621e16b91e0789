import { Assembler, BPF_FUNCTIONS, type BpfAttachType, type BpfMap, type Instructions } from '@apiary/agent-native';
import { addressBytes, MOST_VIP_BACKENDS, type VipMember, type VipRow } from '../core/index.js';

/** VIP (network order) -> VNI, number of backends (4 bytes each), backends (network order): of IPv4, and of IPv6. */
export const VIP_BYTES = {
  ipv4: { key: 4, value: 8 + 4 * MOST_VIP_BACKENDS },
  ipv6: { key: 16, value: 8 + 16 * MOST_VIP_BACKENDS },
} as const;
/** Network namespace cookie (8 bytes), VNI (4), 4 of nothing -> 1. */
export const MEMBER_BYTES = { key: 16, value: 4 } as const;
/**
 * Socket cookie (8 bytes), backend, port (4, the first two in network order), of IPv6 4 of nothing -> the VIP that was asked
 * for.
 */
export const ORIGIN_BYTES = { ipv4: { key: 16, value: 4 }, ipv6: { key: 32, value: 16 } } as const;

export interface VipMaps {
  vips: BpfMap;
  origins: BpfMap;
  ipv6Vips: BpfMap;
  ipv6Origins: BpfMap;
  members: BpfMap;
}

/** struct bpf_sock_addr of linux/bpf.h. */
const CONTEXT = { ip4: 4, ip6: 8, port: 24 } as const;
/** The third word of ::ffff:0:0/96, as this machine reads it. */
const MAPPED_PREFIX = 0xffff0000;
const ECONNREFUSED = 111;

/**
 * Programs that have sockets talk to a live task where they were told to talk to a VIP, by where they hook in. Sockets of
 * IPv6 do so for IPv4 addresses written as theirs as well, which many languages use throughout; what they send there without
 * connecting passes the hook of IPv4.
 */
export function vipPrograms(maps: VipMaps): Map<BpfAttachType, Instructions> {
  return new Map([
    ['connect4', choosing(maps, 'random', [['', ipv4At(CONTEXT.ip4, maps)]])],
    ['connect6', choosing(maps, 'random', eitherFamily(maps))],
    ['sendmsg4', choosing(maps, 'by socket', [['', ipv4At(CONTEXT.ip4, maps)]])],
    ['sendmsg6', choosing(maps, 'by socket', eitherFamily(maps))],
    ['recvmsg4', restoring([['', ipv4At(CONTEXT.ip4, maps)]])],
    ['recvmsg6', restoring(eitherFamily(maps))],
    ['getpeername4', restoring([['', ipv4At(CONTEXT.ip4, maps)]])],
    ['getpeername6', restoring(eitherFamily(maps))],
  ]);
}

export function vipEntry({ vip, vni, backends }: VipRow): { key: Buffer; value: Buffer } {
  const key = Buffer.from(addressBytes(vip));
  const value = Buffer.alloc(VIP_BYTES[vip.includes(':') ? 'ipv6' : 'ipv4'].value);
  value.writeUInt32LE(vni, 0);
  value.writeUInt32LE(backends.length, 4);
  for (const [i, address] of backends.entries()) value.set(addressBytes(address), 8 + key.length * i);
  return { key, value };
}

export function memberEntry({ namespaceCookie, vni }: VipMember): { key: Buffer; value: Buffer } {
  const key = Buffer.alloc(MEMBER_BYTES.key);
  key.writeBigUInt64LE(namespaceCookie, 0);
  key.writeUInt32LE(vni, 8);
  const value = Buffer.alloc(MEMBER_BYTES.value);
  value.writeUInt32LE(1, 0);
  return { key, value };
}

/** Where in the context an address is, how many words it has, and what is known of such addresses. */
interface Place {
  at: number;
  words: 1 | 4;
  vips: BpfMap;
  origins: BpfMap;
}

/** By what their labels begin with. */
type Places = readonly (readonly [name: string, place: Place])[];

function ipv4At(at: number, { vips, origins }: VipMaps): Place {
  return { at, words: 1, vips, origins };
}

function eitherFamily(maps: VipMaps): Places {
  return [
    ['mapped', ipv4At(CONTEXT.ip6 + 12, maps)],
    ['own', { at: CONTEXT.ip6, words: 4, vips: maps.ipv6Vips, origins: maps.ipv6Origins }],
  ];
}

/** On the stack; each key is followed by nothing. */
const VIP = -16;
const MEMBER = -32;
const ORIGIN = -64;

/** r6 = the context; goes on to `own` with what is no IPv4 address, where there are two places. */
function begin(places: Places): Assembler {
  const program = new Assembler().mov('r6', 'r1');
  if (places.length === 1) return program;
  return program
    .load(32, 'r2', 'r6', CONTEXT.ip6)
    .jumpIf('r2', '!=', 0, 'own')
    .load(32, 'r2', 'r6', CONTEXT.ip6 + 4)
    .jumpIf('r2', '!=', 0, 'own')
    .load(32, 'r2', 'r6', CONTEXT.ip6 + 8)
    .jumpIf('r2', '!=', MAPPED_PREFIX, 'own', 32);
}

/** r0 = the value of the key at this place on the stack, or 0. */
function lookUp(program: Assembler, map: BpfMap, keyAt: number): Assembler {
  return program.loadMap('r1', map).mov('r2', 'r10').alu('add', 'r2', keyAt).call(BPF_FUNCTIONS.mapLookup);
}

/** Word by word, by way of r2. */
function copy(
  program: Assembler,
  words: number,
  from: readonly ['r0' | 'r6' | 'r8' | 'r10', number],
  to: readonly ['r6' | 'r10', number],
): Assembler {
  for (let i = 0; i < words; i++)
    program.load(32, 'r2', from[0], from[1] + 4 * i).store(32, to[0], to[1] + 4 * i, 'r2');
  return program;
}

type Choice = 'random' | 'by socket';

/**
 * Puts a backend in the place of a VIP, for those who are on its network, and remembers what was asked for. Who connects
 * gets any; who only sends the same one again for as long as there is no other set of them.
 */
function choosing({ members }: VipMaps, choice: Choice, places: Places): Instructions {
  const program = begin(places);
  for (const [name, place] of places) {
    program.label(name);
    choosingAt(program, name, place, members, choice);
  }
  return program
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

function choosingAt(
  program: Assembler,
  name: string,
  { at, words, vips, origins }: Place,
  members: BpfMap,
  choice: Choice,
): void {
  copy(program, words, ['r6', at], ['r10', VIP]);
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
    .alu('lsh', 'r0', words === 1 ? 2 : 4)
    .alu('add', 'r8', 'r0');
  copy(program, words, ['r8', 8], ['r10', ORIGIN + 8]);
  endOfOrigin(program, words);
  lookUp(program, origins, ORIGIN).jumpIf('r0', '==', 0, `${name}remember`);
  for (let i = 0; i < words; i++) {
    program
      .load(32, 'r2', 'r0', 4 * i)
      .load(32, 'r3', 'r10', VIP + 4 * i)
      .jumpIf('r2', '!=', 'r3', `${name}remember`);
  }
  program
    .jump(`${name}known`)
    .label(`${name}remember`)
    .loadMap('r1', origins)
    .mov('r2', 'r10')
    .alu('add', 'r2', ORIGIN)
    .mov('r3', 'r10')
    .alu('add', 'r3', VIP)
    .mov('r4', 0)
    .call(BPF_FUNCTIONS.mapUpdate)
    .label(`${name}known`);
  copy(program, words, ['r10', ORIGIN + 8], ['r6', at]).jump('pass');
}

/** What follows the address in the key of an origin. */
function endOfOrigin(program: Assembler, words: number): Assembler {
  program.load(32, 'r2', 'r6', CONTEXT.port).store(32, 'r10', ORIGIN + 8 + 4 * words, 'r2');
  return words === 1 ? program : program.store(32, 'r10', ORIGIN + 12 + 4 * words, 0);
}

/** Puts the VIP back in the place of the backend, for the socket that had asked for it. */
function restoring(places: Places): Instructions {
  const program = begin(places);
  for (const [name, { at, words, origins }] of places) {
    program.label(name);
    copy(program, words, ['r6', at], ['r10', ORIGIN + 8]);
    endOfOrigin(program, words).mov('r1', 'r6').call(BPF_FUNCTIONS.socketCookie).store(64, 'r10', ORIGIN, 'r0');
    lookUp(program, origins, ORIGIN).jumpIf('r0', '==', 0, 'pass');
    copy(program, words, ['r0', 0], ['r6', at]).jump('pass');
  }
  return program.label('pass').mov('r0', 1).exit().assemble();
}
