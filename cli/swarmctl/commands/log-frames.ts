/** The stream on which the daemon says what went wrong. */
export const SYSTEM_ERROR = 3;

const HEADER_LENGTH = 8;

/** Docker's frames (stdcopy): the stream's number, three zeros, the length in 4 bytes, big-endian; then a line. */
export async function* demultiplexed(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<{ stream: number; bytes: Buffer }, void, void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= HEADER_LENGTH) {
      const end = HEADER_LENGTH + rest.readUInt32BE(4);
      if (rest.length < end) break;
      yield { stream: rest.readUInt8(0), bytes: rest.subarray(HEADER_LENGTH, end) };
      rest = rest.subarray(end);
    }
  }
}
