/**
 * CRC32C (Castagnoli), as a port: a native one is many times faster than what can be written here.
 *
 * @param initial the CRC of what came before, so that `checksum(b, checksum(a, 0))` is that of `a` followed by `b`
 * @returns       an unsigned 32-bit number
 */
export type Checksum = (bytes: Uint8Array, initial: number) => number;
