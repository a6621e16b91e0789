import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { play } from './script.js';

/** APIARY_REWRITE_SCENARIOS=1 writes the answers anew: to be read, and understood, before they are kept. */
const FOLDER = fileURLToPath(new URL('../../../../sim/raft/scenarios/', import.meta.url));
const isRewriting = process.env['APIARY_REWRITE_SCENARIOS'] === '1';

const names = readdirSync(FOLDER).filter((name) => name.endsWith('.txt'));
t.ok(names.length >= 15, `${names.length} scenarios`);
for (const name of names) {
  t.test(`the nodes act as ${name} has it`, async (t) => {
    const path = join(FOLDER, name);
    const text = readFileSync(path, 'utf8');
    const played = play(text);
    if (isRewriting) writeFileSync(path, played);
    else t.same(played.split('\n'), text.split('\n'));
  });
}
