const BLOCK_BYTES = 512;

/** A tar archive of such entries. */
export function archive(entries: Buffer[]): Buffer {
  return Buffer.concat([...entries, Buffer.alloc(2 * BLOCK_BYTES)]);
}

/** A file of an archive, and what is in it. */
export function file(path: string, bytes: Buffer, mode = 0o644): Buffer {
  const padding = Buffer.alloc((BLOCK_BYTES - (bytes.length % BLOCK_BYTES)) % BLOCK_BYTES);
  return Buffer.concat([header({ path, type: '0', mode, sizeBytes: bytes.length }), bytes, padding]);
}

/** A header block of the ustar format (POSIX.1-1988), owned by root and dated 1970. */
export function header(entry: {
  path: string;
  type: '0' | '2' | '5';
  mode: number;
  sizeBytes?: number;
  target?: string;
}): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  block.write(entry.path, 0, 100, 'latin1');
  octal(entry.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(entry.sizeBytes ?? 0, 124, 12);
  octal(0, 136, 12);
  block.write(entry.type, 156, 'latin1');
  block.write(entry.target ?? '', 157, 100, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  // The checksum is taken with its own field full of spaces.
  block.fill(' ', 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}
