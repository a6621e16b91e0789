import * as fc from 'fast-check';

/** One thing done to bytes: a bit turned, a stretch left out, said twice or replaced, the end cut off. */
type Damage =
  | { kind: 'flip'; at: number; bit: number }
  | { kind: 'remove' | 'repeat'; at: number; length: number }
  | { kind: 'replace'; at: number; bytes: Uint8Array }
  | { kind: 'cut'; at: number };

/** A place as a part of the whole: it means something for every length. */
const at = fc.double({ min: 0, max: 1, noNaN: true });
const length = fc.integer({ min: 1, max: 24 });
const extremes = fc.constantFrom(0x00, 0x7f, 0x80, 0xff, 0x22, 0x5b, 0x7b);
const damage: fc.Arbitrary<Damage> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('flip' as const), at, bit: fc.nat(7) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('remove' as const, 'repeat' as const), at, length }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('replace' as const),
      at,
      bytes: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 9 }),
        fc.array(extremes, { minLength: 1, maxLength: 4 }).map((bytes) => Uint8Array.from(bytes)),
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), at }) },
);

/** One of `samples` with a few things wrong, or bytes that nobody meant. */
export function damaged(...samples: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const near = fc
    .tuple(fc.constantFrom(...samples), fc.array(damage, { minLength: 1, maxLength: 4 }))
    .map(([sample, all]) => all.reduce(afterDamage, sample));
  return fc.oneof({ weight: 9, arbitrary: near }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) });
}

/** As `damaged`, of texts; bytes that are no UTF-8 become what a decoder makes of them. */
export function damagedText(...samples: readonly string[]): fc.Arbitrary<string> {
  const near = damaged(...samples.map((text) => Buffer.from(text))).map((bytes) => Buffer.from(bytes).toString('utf8'));
  return fc.oneof({ weight: 5, arbitrary: near }, { weight: 1, arbitrary: fc.string({ unit: 'binary' }) });
}

function afterDamage(bytes: Uint8Array, step: Damage): Uint8Array {
  const place = Math.min(Math.floor(step.at * bytes.length), Math.max(0, bytes.length - 1));
  switch (step.kind) {
    case 'flip':
      return bytes.map((byte, i) => (i === place ? byte ^ (1 << step.bit) : byte));
    case 'remove':
      return Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + step.length)]);
    case 'repeat':
      return Buffer.concat([bytes.subarray(0, place + step.length), bytes.subarray(place)]);
    case 'replace':
      return Buffer.concat([bytes.subarray(0, place), step.bytes, bytes.subarray(place + step.bytes.length)]);
    case 'cut':
      return bytes.subarray(0, place);
  }
}
