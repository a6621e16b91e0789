import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { messageOf } from '@apiary/std';
import { SpecError, type Surroundings } from './spec/option.js';

/** The caller's own files and environment. */
export const OWN_SURROUNDINGS: Surroundings = {
  variable: (name) => process.env[name],
  readText: (path) => {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      // Node's words are `ENOENT: no such file or directory, open '...'`.
      const [, why = messageOf(error)] = /^[A-Z]+: (.*?), /.exec(messageOf(error)) ?? [];
      throw new SpecError(`open ${path}: ${why}`);
    }
  },
  absolute: (path) => resolve(path),
};
