import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { messageOf, systemCodeOf } from '@apiary/std';
import { SpecError, type Surroundings } from './spec/option.js';

/** The caller's own files and environment. */
export const OWN_SURROUNDINGS: Surroundings = {
  variable: (name) => process.env[name],
  readText: (path) => {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      throw new SpecError(`open ${path}: ${whyOf(error)}`);
    }
  },
  absolute: (path) => resolve(path),
  readBytes: async (path) => {
    if (path === undefined) return buffer(process.stdin);
    try {
      return await readFile(path);
    } catch (error) {
      const call = systemCodeOf(error) === 'EISDIR' ? 'read' : 'open';
      throw new SpecError(`${call} ${path}: ${whyOf(error)}`);
    }
  },
};

/** Why a file is not to be had. Node's words are `ENOENT: no such file or directory, open '...'`, and Go's the middle of them. */
export function whyOf(error: unknown): string {
  const [, why = messageOf(error)] = /^[A-Z]+: (.*), .*$/.exec(messageOf(error)) ?? [];
  // Node calls it an operation on a directory.
  return systemCodeOf(error) === 'EISDIR' ? 'is a directory' : why;
}
