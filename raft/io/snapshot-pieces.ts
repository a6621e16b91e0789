import { ApiaryError } from '@apiary/std';
import { crc32c } from '@node-rs/crc32';
import { FILE_HEADER_BYTES, viewOf } from '../core/index.js';
import { DamagedFileError } from './damaged-file.js';
import { type FileCipher, SEALED_EXTRA_BYTES } from './file-cipher.js';
import type { OpenFile } from './file-system.js';

/**
 * A snapshot on disk: the header, then each piece as length and CRC32C (4 bytes each, little-endian, the CRC begun with
 * that of the piece before) and its bytes, then length 0xffffffff and the CRC, which ends the chain.
 *
 * In an encrypted one each piece is what encrypting it gave, bound to its place among the others; after the end mark
 * comes what encrypting nothing gave, bound to the number of pieces: so none can be taken away at the end either.
 */
const PIECE_HEAD_BYTES = 8;
const END_MARK = 0xffff_ffff;
const MAX_PIECE_BYTES = 64 * 1024 * 1024;
/** Pieces are gathered up to this size before they are written. */
const WRITE_BYTES = 256 * 1024;
/** Synced in steps, so that the log's own syncs never wait behind a whole snapshot. */
const SYNC_BYTES = 8 * 1024 * 1024;
const NOTHING = new Uint8Array(0);

/**
 * Writes a whole snapshot into an empty file; pieces are drawn as the disk takes them.
 *
 * @returns the file's size in bytes
 */
export async function writePieces(
  file: OpenFile,
  header: Uint8Array,
  pieces: Iterable<Uint8Array>,
  cipher: FileCipher | undefined,
): Promise<number> {
  let crc = crc32c(header, 0);
  let offset = 0;
  let synced = 0;
  let gathered: Uint8Array[] = [header];
  let gatheredBytes = header.length;
  const gather = (length: number, content: Uint8Array) => {
    crc = crc32c(content, crc);
    gathered.push(pieceHead(length, crc), content);
    gatheredBytes += PIECE_HEAD_BYTES + content.length;
  };
  const flush = async () => {
    await file.write(Buffer.concat(gathered), offset);
    offset += gatheredBytes;
    gathered = [];
    gatheredBytes = 0;
    if (offset - synced < SYNC_BYTES) return;
    await file.sync();
    synced = offset;
  };
  let number = 0;
  for (const piece of pieces) {
    if (piece.length > MAX_PIECE_BYTES)
      throw new ApiaryError(
        'internal',
        `a snapshot's piece of ${piece.length} bytes is over the ${MAX_PIECE_BYTES} allowed`,
      );
    const content = cipher === undefined ? piece : cipher.seal(piece, placeOf(number++, 'piece'));
    gather(content.length, content);
    if (gatheredBytes >= WRITE_BYTES) await flush();
  }
  gather(END_MARK, cipher === undefined ? NOTHING : cipher.seal(NOTHING, placeOf(number, 'end')));
  await flush();
  return offset;
}

/**
 * The pieces of a file, each checked before it is handed out, read while they are drawn.
 *
 * @throws DamagedFileError at the first that is not as it was written
 */
export function* readPieces(file: OpenFile, path: string, cipher: FileCipher | undefined): Generator<Uint8Array> {
  const size = file.size();
  const header = new Uint8Array(FILE_HEADER_BYTES);
  file.read(header, 0);
  let crc = crc32c(header, 0);
  const head = new Uint8Array(PIECE_HEAD_BYTES);
  const view = viewOf(head);
  for (let offset = FILE_HEADER_BYTES, number = 0; ; number++) {
    if (file.read(head, offset) < PIECE_HEAD_BYTES) throw DamagedFileError.at(path, offset, 'it is cut short');
    const left = size - offset - PIECE_HEAD_BYTES;
    const isEnd = view.getUint32(0, true) === END_MARK && left === (cipher === undefined ? 0 : SEALED_EXTRA_BYTES);
    const length = isEnd ? left : view.getUint32(0, true);
    if (length > Math.min(MAX_PIECE_BYTES + SEALED_EXTRA_BYTES, left))
      throw DamagedFileError.at(path, offset, 'no sound piece begins there');
    const piece = new Uint8Array(length);
    file.read(piece, offset + PIECE_HEAD_BYTES);
    crc = crc32c(piece, crc);
    if (crc !== view.getUint32(4, true)) throw DamagedFileError.at(path, offset, 'the checksum of its piece is wrong');
    const content = cipher === undefined ? piece : cipher.open(piece, placeOf(number, isEnd ? 'end' : 'piece'));
    if (content === undefined)
      throw DamagedFileError.at(path, offset, 'what is there was not encrypted by this manager for this place');
    if (isEnd) return;
    yield content;
    offset += PIECE_HEAD_BYTES + length;
  }
}

function pieceHead(length: number, crc: number): Uint8Array {
  const head = new Uint8Array(PIECE_HEAD_BYTES);
  const view = viewOf(head);
  view.setUint32(0, length, true);
  view.setUint32(4, crc, true);
  return head;
}

/** What the content of a piece is bound to, beside its file. */
function placeOf(number: number, kind: 'piece' | 'end'): Uint8Array {
  return Buffer.from(`${kind} ${number}`);
}
