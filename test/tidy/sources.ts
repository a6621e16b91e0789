import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout's top folder, seen from the compiled test. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

const NOT_OURS = new Set(['node_modules', 'dist', 'gen', '.git', '.tap']);

export interface Source {
  /** Relative to the checkout, with forward slashes. */
  path: string;
  text: string;
  lines: string[];
}

/** Every file below `folder` whose name ends so, generated ones left out. */
export function filesUnder(folder: string, suffix: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!NOT_OURS.has(entry.name)) found.push(...filesUnder(path, suffix));
    } else if (entry.name.endsWith(suffix)) found.push(relative('.', path));
  }
  return found.sort();
}

export function readSources(): Source[] {
  return filesUnder('.', '.ts').map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    return { path, text, lines: text.split('\n') };
  });
}
