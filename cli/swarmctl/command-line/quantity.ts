import { FlagValueError } from './flag.js';

/** Values with a unit or a range, read with the rules and the words of the Go libraries that Docker reads them with. */

const NANOSECONDS: Record<string, bigint> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

/** Go's time.ParseDuration: `1h30m`, `1.5s`, `-2ms`, `0`. @returns nanoseconds */
export function parseDuration(text: string): number {
  const fail = () => new FlagValueError(`time: invalid duration ${JSON.stringify(text)}`);
  const [, sign, body = ''] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  if (body === '0') return 0;
  if (body === '') throw fail();
  let total = 0n;
  let rest = body;
  while (rest !== '') {
    const [all, whole = '', fraction = '', unit = ''] = /^(\d*)(?:\.(\d*))?([^\d.]*)/.exec(rest) ?? [''];
    if (all === undefined || whole + fraction === '') throw fail();
    if (unit === '') throw new FlagValueError(`time: missing unit in duration ${JSON.stringify(text)}`);
    const scale = NANOSECONDS[unit];
    if (scale === undefined) {
      throw new FlagValueError(`time: unknown unit ${JSON.stringify(unit)} in duration ${JSON.stringify(text)}`);
    }
    total += BigInt(whole || 0) * scale + (BigInt(fraction || 0) * scale) / 10n ** BigInt(fraction.length);
    rest = rest.slice(all.length);
  }
  // Beyond 2^53 ns (104 days) a number of JSON loses its last digits, which no duration here has.
  if (total > 0x7fff_ffff_ffff_ffffn) throw fail();
  return Number(sign === '-' ? -total : total);
}

export function parsePositiveDuration(text: string): number {
  const value = parseDuration(text);
  if (value < 0) throw new FlagValueError('duration cannot be negative');
  return value;
}

/** A number of bytes with a binary unit: `512m`, `1.5GiB`, `100`. @returns bytes */
export function parseBytes(text: string): number {
  const end = /^(.*[\d.])( ?)([^\d. ]*)$/s.exec(text);
  if (end === null) throw new FlagValueError(`invalid size: '${text}'`);
  const [, number = '', , unit = ''] = end;
  const size = Number(number);
  if (number.trim() !== number || Number.isNaN(size)) {
    throw new FlagValueError(`strconv.ParseFloat: parsing ${JSON.stringify(number)}: invalid syntax`);
  }
  if (size < 0) throw new FlagValueError(`invalid size: '${text}'`);
  const suffix = unit.toLowerCase();
  const [, letter] = /^(?:b?|([kmgtp])(?:i?b)?)$/.exec(suffix) ?? [undefined, ''];
  if (letter === '') throw new FlagValueError(`invalid suffix: '${unit.length > 3 ? unit : suffix}'`);
  return Math.trunc(size * 1024 ** (letter === undefined ? 0 : 'kmgtp'.indexOf(letter) + 1));
}

/** A number of CPUs as a decimal or a fraction: `0.5`, `1/2`. @returns billionths of one */
export function parseCpus(text: string): number {
  const [, sign, whole = '', fraction = '', exponent = '0', , divisor] =
    /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?(\/(\d+))?$/.exec(text) ?? [];
  if (whole + fraction === '' || (divisor !== undefined && (BigInt(divisor) === 0n || text.includes('.')))) {
    throw new FlagValueError(`failed to parse ${text} as a rational number`);
  }
  const shift = 9 + Number(exponent) - fraction.length;
  const up = 10n ** BigInt(Math.max(0, shift));
  const down = 10n ** BigInt(Math.max(0, -shift)) * BigInt(divisor ?? 1);
  const scaled = BigInt(whole + fraction) * up;
  if (scaled % down !== 0n) throw new FlagValueError('value is too precise');
  return Number(sign === '-' ? -(scaled / down) : scaled / down);
}

/** @returns an integer that JSON carries exactly, between `least` and 2^53 */
function parseInteger(text: string, reader: 'ParseUint' | 'ParseInt'): number {
  const fail = (why: string) => new FlagValueError(`strconv.${reader}: parsing ${JSON.stringify(text)}: ${why}`);
  const form = reader === 'ParseUint' ? /^(?:\d+|0[xX][\da-fA-F]+)$/ : /^[+-]?(?:\d+|0[xX][\da-fA-F]+)$/;
  if (!form.test(text)) throw fail('invalid syntax');
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw fail('value out of range');
  return value;
}

export const parseUint = (text: string): number => parseInteger(text, 'ParseUint');
export const parseInt64 = (text: string): number => parseInteger(text, 'ParseInt');

/** A ratio, kept with the precision of 32 bits as Docker keeps it. */
export function parseRatio(text: string): number {
  const value = Number(text);
  if (text.trim() !== text || text === '' || Number.isNaN(value)) {
    throw new FlagValueError(`strconv.ParseFloat: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  // The shortest decimal that stands for the same 32 bit number, which is what Go writes into the JSON.
  const single = Math.fround(value);
  for (let digits = 1; digits < 10; digits++) {
    const short = Number(single.toPrecision(digits));
    if (Math.fround(short) === single) return short;
  }
  return single;
}
