/** A source of randomness, handed in wherever something must differ from one run to the next. */
export interface Rng {
  /** An integer, uniform over [0, bound). `bound` is between 1 and 2^32. */
  below(bound: number): number;
}

/**
 * A generator whose whole sequence follows from its seed: xoshiro128**, seeded by splitmix32.
 * Not for secrets. Source: D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators" (2018).
 */
export class SeededRng implements Rng {
  readonly #state: [number, number, number, number];

  constructor(seed: number) {
    let x = seed >>> 0;
    const split = (): number => {
      x = (x + 0x9e3779b9) >>> 0;
      let z = x;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.#state = [split(), split(), split(), split()];
  }

  below(bound: number): number {
    // The largest multiple of bound: what lies above it would favour the small numbers.
    const limit = 0x1_0000_0000 - (0x1_0000_0000 % bound);
    for (;;) {
      const value = this.#next();
      if (value < limit) return value % bound;
    }
  }

  #next(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

const ID_DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz';

/**
 * An object's id as Docker Swarm writes them: 25 characters of base 36, the first at most `f`, so that every id
 * stands for a number of just under 128 bits and ids are of one length.
 */
export function newId(rng: Rng): string {
  let id = ID_DIGITS.charAt(rng.below(16));
  for (let i = 1; i < 25; i++) id += ID_DIGITS.charAt(rng.below(36));
  return id;
}
