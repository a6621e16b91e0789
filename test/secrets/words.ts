import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Forms in which words may lie about: as they are, in JavaScript's wide strings, and in base64 wherever it was cut. */
export function formsOf(words: string): Buffer[] {
  const plain = Buffer.from(words);
  const inBase64 = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), plain]).toString('base64');
    // Without what neighbours on either side make of it.
    return Buffer.from(text.slice(4, -4));
  });
  return [plain, Buffer.from(words, 'utf16le'), ...inBase64];
}

/** The files below a folder that have one of the forms in them. Those that vanish meanwhile are passed over. */
export function filesWith(forms: readonly Buffer[], directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => hasOne(forms, readIfThere(path)));
}

/** The processes of the machine that have one of the forms among their arguments or in their environment. */
export function processesWith(forms: readonly Buffer[]): string[] {
  const files = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .flatMap((pid) => [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`]);
  return files.filter((path) => hasOne(forms, readIfThere(path)));
}

const CHUNK_BYTES = 16 * 1024 * 1024;

/**
 * The places in a process's memory that have one of the forms in them: what a core dump would hold, and what is mapped
 * of files beside it.
 */
export function memoryWith(forms: readonly Buffer[], pid: number): string[] {
  const places: string[] = [];
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line) ?? [];
      // The kernel's own pages for each process cannot be read.
      if (from === '' || /\[v(var|syscall)/.test(line)) continue;
      const end = Number.parseInt(to, 16);
      for (let at = Number.parseInt(from, 16); at < end; at += CHUNK_BYTES) {
        const bytes = Buffer.alloc(Math.min(CHUNK_BYTES + 4096, end - at));
        if (hasOne(forms, bytes.subarray(0, readAt(memory, bytes, at)))) places.push(line);
      }
    }
  } finally {
    closeSync(memory);
  }
  return places;
}

function readAt(file: number, bytes: Buffer, at: number): number {
  try {
    return readSync(file, bytes, 0, bytes.length, at);
  } catch {
    // Unmapped meanwhile.
    return 0;
  }
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}

function hasOne(forms: readonly Buffer[], bytes: Buffer): boolean {
  return forms.some((form) => bytes.includes(form));
}
