import { ApiaryError } from '@apiary/std';
import { bytesOf, getAscii, putAscii, viewOf } from './binary.js';
import type { Entry, MemberId, Membership, Position } from './entry.js';

/**
 * An entry's content as bytes, for disk and wire: a byte for its type, then the command, or the membership and its data.
 * A membership: the number of voters and of learners (2 bytes each, little-endian), then each name, a length byte first.
 */
const TYPES = { empty: 0, command: 1, membership: 2 } as const;

export function encodeEntry(entry: Entry): Uint8Array {
  const bytes = new Uint8Array(encodedEntryBytes(entry));
  writeEntry(entry, bytes, 0);
  return bytes;
}

/** How many bytes `writeEntry` writes. */
export function encodedEntryBytes(entry: Entry): number {
  switch (entry.type) {
    case 'empty':
      return 1;
    case 'command':
      return 1 + entry.data.length;
    case 'membership':
      return 1 + encodedMembershipBytes(entry.membership) + entry.data.length;
  }
}

/** Writes what `encodeEntry` gives into `target`, from `at` on. */
export function writeEntry(entry: Entry, target: Uint8Array, at: number): void {
  target[at] = TYPES[entry.type];
  if (entry.type === 'empty') return;
  const membership = entry.type === 'membership' ? encodeMembership(entry.membership) : new Uint8Array(0);
  target.set(membership, at + 1);
  target.set(entry.data, at + 1 + membership.length);
}

/**
 * The entry at `position`. Its data is a part of `bytes`, not a copy.
 *
 * @throws ApiaryError `failed-precondition` when `bytes` are not of this version
 */
export function decodeEntry({ index, term }: Position, bytes: Uint8Array): Entry {
  switch (bytes[0]) {
    case TYPES.empty:
      return { type: 'empty', index, term };
    case TYPES.command:
      return { type: 'command', index, term, data: bytes.subarray(1) };
    case TYPES.membership: {
      const { membership, length } = decodeMembership(bytes.subarray(1));
      return { type: 'membership', index, term, membership, data: bytes.subarray(1 + length) };
    }
    default:
      throw new ApiaryError(
        'failed-precondition',
        `entry ${index} has content of type ${bytes[0]}, which this version cannot read: run the newer version that wrote it`,
      );
  }
}

export function encodeMembership({ voters, learners }: Membership): Uint8Array {
  const members = [...voters, ...learners];
  const bytes = new Uint8Array(encodedMembershipBytes({ voters, learners }));
  const view = viewOf(bytes);
  view.setUint16(0, voters.length, true);
  view.setUint16(2, learners.length, true);
  let at = 4;
  for (const id of members) {
    view.setUint8(at, id.length);
    putAscii(view, at + 1, id.length, id);
    at += 1 + id.length;
  }
  return bytes;
}

export function encodedMembershipBytes({ voters, learners }: Membership): number {
  return [...voters, ...learners].reduce((sum, id) => sum + 1 + id.length, 4);
}

/** @returns the membership, and how many of `bytes` it takes */
export function decodeMembership(bytes: Uint8Array): { membership: Membership; length: number } {
  const view = viewOf(bytes);
  let at = 4;
  const name = (): MemberId => {
    const length = view.getUint8(at);
    const id = getAscii(viewOf(bytesOf(view, at + 1, at + 1 + length)), 0, length);
    at += 1 + length;
    return id;
  };
  const voters = Array.from({ length: view.getUint16(0, true) }, name);
  const learners = Array.from({ length: view.getUint16(2, true) }, name);
  return { membership: { voters, learners }, length: at };
}
