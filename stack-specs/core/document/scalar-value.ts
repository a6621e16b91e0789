import type { ScalarValue } from './node.js';

const WORDS = new Map<string, ScalarValue>([
  ['', null],
  ['~', null],
  ['null', null],
  ['Null', null],
  ['NULL', null],
  ['true', true],
  ['True', true],
  ['TRUE', true],
  ['false', false],
  ['False', false],
  ['FALSE', false],
  ['.nan', Number.NaN],
  ['.NaN', Number.NaN],
  ['.NAN', Number.NaN],
  ['.inf', Number.POSITIVE_INFINITY],
  ['.Inf', Number.POSITIVE_INFINITY],
  ['.INF', Number.POSITIVE_INFINITY],
  ['+.inf', Number.POSITIVE_INFINITY],
  ['+.Inf', Number.POSITIVE_INFINITY],
  ['+.INF', Number.POSITIVE_INFINITY],
  ['-.inf', Number.NEGATIVE_INFINITY],
  ['-.Inf', Number.NEGATIVE_INFINITY],
  ['-.INF', Number.NEGATIVE_INFINITY],
]);

const DECIMAL = /^[-+]?(0|[1-9][0-9]*)$/;
const PREFIXED = /^([-+]?)0([xX][0-9a-fA-F]+|[oO]?[0-7]+|[bB][01]+)$/;
const FLOAT = /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/;

/**
 * What a plain scalar means, as Docker's YAML reads it: YAML 1.2, but that `0755` is octal, `1_000` is a number and
 * `yes`, `on` and `n` are text. Dates stay the text that they are written as.
 */
export function plainScalarValue(text: string): ScalarValue {
  const word = WORDS.get(text);
  if (word !== undefined) return word;
  if (!/^[-+.0-9]/.test(text)) return text;
  const digits = text.replaceAll('_', '');
  // What is short needs no BigInt; the sum makes 0 of -0.
  if (DECIMAL.test(digits)) return digits.length < 16 ? Number(digits) + 0 : exact(BigInt(digits.replace(/^\+/, '')));
  const [, sign, rest] = PREFIXED.exec(digits) ?? [];
  if (rest !== undefined) {
    const magnitude = BigInt(/^[0-7]/.test(rest) ? `0o${rest}` : `0${rest.toLowerCase()}`);
    return exact(sign === '-' ? -magnitude : magnitude);
  }
  return FLOAT.test(digits) ? Number(digits) : text;
}

/** Go's integers have 64 bits; what is longer is read as a float. */
function exact(value: bigint): number | bigint {
  if (value < -(2n ** 63n) || value >= 2n ** 64n) return Number(value);
  const asNumber = Number(value);
  return Number.isSafeInteger(asNumber) ? asNumber : value;
}
