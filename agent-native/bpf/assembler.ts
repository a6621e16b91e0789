import type { BpfMap } from './map.js';

/** Instructions of eight bytes each, and which of them load the address of which map. */
export interface Instructions {
  bytes: Uint8Array;
  maps: { at: number; map: BpfMap }[];
}

/** r0 is what functions return, r1 to r5 what they take, r6 to r9 survive calls, r10 is the top of the stack. */
export type Register = 'r0' | 'r1' | 'r2' | 'r3' | 'r4' | 'r5' | 'r6' | 'r7' | 'r8' | 'r9' | 'r10';

/** Bits of a load or store. */
export type Width = 8 | 16 | 32 | 64;

const WIDTHS: Readonly<Record<Width, number>> = { 8: 0x10, 16: 0x08, 32: 0x00, 64: 0x18 };

const ARITHMETIC = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  mod: 0x90,
  xor: 0xa0,
  mov: 0xb0,
  arsh: 0xc0,
} as const;

const CONDITIONS = {
  '==': 0x10,
  '>': 0x20,
  '>=': 0x30,
  '&': 0x40,
  '!=': 0x50,
  's>': 0x60,
  's>=': 0x70,
  '<': 0xa0,
  '<=': 0xb0,
  's<': 0xc0,
  's<=': 0xd0,
} as const;

/** Functions of the kernel that programs may call, by their numbers in `linux/bpf.h`. Any other number does as well. */
export const BPF_FUNCTIONS = {
  mapLookup: 1,
  mapUpdate: 2,
  mapDelete: 3,
  monotonicTimeNs: 5,
  randomU32: 7,
  currentPid: 14,
  skbStoreBytes: 9,
  l3ChecksumReplace: 10,
  l4ChecksumReplace: 11,
  redirect: 23,
  skbHash: 34,
  socketCookie: 46,
  skbAdjustRoom: 50,
  bind: 64,
  fibLookup: 69,
  currentCgroupId: 80,
  socketStorageGet: 107,
  netnsCookie: 122,
  redirectNeighbour: 152,
  setReturnValue: 187,
} as const;

const CLASS = { ld: 0x00, ldx: 0x01, st: 0x02, stx: 0x03, alu: 0x04, jmp: 0x05, jmp32: 0x06, alu64: 0x07 } as const;
const MODE = { imm: 0x00, mem: 0x60, atomic: 0xc0 } as const;
const SOURCE_REGISTER = 0x08;
const NEGATE = 0x80;
const SWAP = 0xd0;
const CALL = 0x80;
const EXIT = 0x90;
const INSTRUCTION_BYTES = 8;

/**
 * Writes BPF programs instruction by instruction, with names for the targets of jumps.
 *
 * The form of an instruction is that of the kernel's Documentation/bpf/standardization/instruction-set.rst.
 */
export class Assembler {
  readonly #code: number[][] = [];
  readonly #maps: { at: number; map: BpfMap }[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: { at: number; label: string }[] = [];

  /** dst = dst operation src, on 64 bits, or on 32 with the upper half cleared. */
  alu(operation: keyof typeof ARITHMETIC, dst: Register, src: Register | number, bits: 32 | 64 = 64): this {
    const code = (bits === 64 ? CLASS.alu64 : CLASS.alu) | ARITHMETIC[operation];
    return this.#operand(code, dst, src, 0);
  }

  mov(dst: Register, src: Register | number): this {
    return this.alu('mov', dst, src);
  }

  negate(dst: Register): this {
    return this.#emit(CLASS.alu64 | NEGATE, dst, 'r0', 0, 0);
  }

  /** Between the host's order and network order; the bits above are cleared. */
  swapToNetworkOrder(dst: Register, bits: 16 | 32 | 64): this {
    return this.#emit(CLASS.alu | SWAP | SOURCE_REGISTER, dst, 'r0', 0, bits);
  }

  /** dst = the value at src + offset. */
  load(width: Width, dst: Register, src: Register, offset: number): this {
    return this.#emit(CLASS.ldx | MODE.mem | WIDTHS[width], dst, src, offset, 0);
  }

  /** The value at dst + offset = src. */
  store(width: Width, dst: Register, offset: number, src: Register | number): this {
    if (typeof src === 'number') return this.#emit(CLASS.st | MODE.mem | WIDTHS[width], dst, 'r0', offset, src);
    return this.#emit(CLASS.stx | MODE.mem | WIDTHS[width], dst, src, offset, 0);
  }

  /** The value at dst + offset += src, at once for all CPUs. */
  atomicAdd(width: 32 | 64, dst: Register, offset: number, src: Register): this {
    return this.#emit(CLASS.stx | MODE.atomic | WIDTHS[width], dst, src, offset, 0);
  }

  /** dst = a number of 64 bits. Takes two instructions. */
  loadNumber(dst: Register, value: bigint): this {
    const bits = BigInt.asUintN(64, value);
    this.#emit(CLASS.ld | MODE.imm | WIDTHS[64], dst, 'r0', 0, Number(bits & 0xffffffffn));
    return this.#emit(0, 'r0', 'r0', 0, Number(bits >> 32n));
  }

  /** dst = the map, as the kernel's functions take it. Takes two instructions. */
  loadMap(dst: Register, map: BpfMap): this {
    this.#maps.push({ at: this.#code.length, map });
    return this.loadNumber(dst, 0n);
  }

  /** Names the next instruction. */
  label(name: string): this {
    if (this.#labels.has(name)) throw new TypeError(`label "${name}" is there already`);
    this.#labels.set(name, this.#code.length);
    return this;
  }

  jump(label: string): this {
    this.#jumps.push({ at: this.#code.length, label });
    return this.#emit(CLASS.jmp, 'r0', 'r0', 0, 0);
  }

  /** Jumps when dst compares so to src; `&` when they have a bit in common, `s` compares as signed. */
  jumpIf(
    dst: Register,
    condition: keyof typeof CONDITIONS,
    src: Register | number,
    label: string,
    bits: 32 | 64 = 64,
  ): this {
    this.#jumps.push({ at: this.#code.length, label });
    return this.#operand((bits === 64 ? CLASS.jmp : CLASS.jmp32) | CONDITIONS[condition], dst, src, 0);
  }

  call(functionNumber: number): this {
    return this.#emit(CLASS.jmp | CALL, 'r0', 'r0', 0, functionNumber);
  }

  exit(): this {
    return this.#emit(CLASS.jmp | EXIT, 'r0', 'r0', 0, 0);
  }

  /** @throws TypeError when a jump leads to no label, or too far */
  assemble(): Instructions {
    const code = this.#code.map((instruction) => [...instruction]);
    for (const { at, label } of this.#jumps) {
      const target = this.#labels.get(label);
      const instruction = code[at];
      if (target === undefined || instruction === undefined) throw new TypeError(`there is no label "${label}"`);
      instruction[2] = target - at - 1;
    }
    const bytes = Buffer.alloc(code.length * INSTRUCTION_BYTES);
    for (const [i, [operation = 0, registers = 0, offset = 0, immediate = 0]] of code.entries()) {
      bytes.writeUInt8(operation, i * INSTRUCTION_BYTES);
      bytes.writeUInt8(registers, i * INSTRUCTION_BYTES + 1);
      bytes.writeInt16LE(offset, i * INSTRUCTION_BYTES + 2);
      bytes.writeInt32LE(immediate | 0, i * INSTRUCTION_BYTES + 4);
    }
    return { bytes, maps: [...this.#maps] };
  }

  #operand(code: number, dst: Register, src: Register | number, offset: number): this {
    if (typeof src === 'number') return this.#emit(code, dst, 'r0', offset, src);
    return this.#emit(code | SOURCE_REGISTER, dst, src, offset, 0);
  }

  #emit(operation: number, dst: Register, src: Register, offset: number, immediate: number): this {
    if (!Number.isInteger(immediate) || immediate < -(2 ** 31) || immediate >= 2 ** 32) {
      throw new TypeError(`${immediate} does not fit into the 32 bits of an instruction: use loadNumber()`);
    }
    this.#code.push([operation, numberOf(dst) | (numberOf(src) << 4), offset, immediate]);
    return this;
  }
}

function numberOf(register: Register): number {
  const number = /^r(\d|10)$/.exec(register)?.[1];
  if (number === undefined) throw new TypeError(`"${String(register)}" is no register`);
  return Number(number);
}
