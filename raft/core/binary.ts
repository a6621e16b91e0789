import { invariant } from '@apiary/std';

/** Fixed-width fields of the files on disk: little-endian, integers up to 2^53 - 1 in 8 bytes, ASCII padded with zeros. */

const TWO_TO_32 = 0x1_0000_0000;

export function putUint64(view: DataView, at: number, value: number): void {
  invariant(Number.isSafeInteger(value) && value >= 0, `${value} does not fit the 64-bit field`);
  view.setUint32(at, value % TWO_TO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_TO_32), true);
}

export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_TO_32 + view.getUint32(at, true);
}

/** Writes `text` into `width` bytes that hold zeros. */
export function putAscii(view: DataView, at: number, width: number, text: string): void {
  invariant(
    text.length <= width && /^[\x21-\x7e]*$/.test(text),
    `"${text}" is not ${width} characters of ASCII or less`,
  );
  for (let i = 0; i < text.length; i++) view.setUint8(at + i, text.charCodeAt(i));
}

export function getAscii(view: DataView, at: number, width: number): string {
  let text = '';
  for (let i = 0; i < width; i++) {
    const code = view.getUint8(at + i);
    if (code === 0) break;
    text += String.fromCharCode(code);
  }
  return text;
}

/** The bytes `from` to `to` of what `view` shows. */
export function bytesOf(view: DataView, from: number, to: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + from, to - from);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
