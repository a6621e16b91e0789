// `npm run lock`: puts back what `npm install` leaves out of the lock file when a registry does not carry the packages
// of other platforms. `npm ci` refuses a lock file that lacks them, on every platform.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PATH = fileURLToPath(new URL('../package-lock.json', import.meta.url));
const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32'];
const PROCESSORS = ['arm', 'arm64', 'armv7', 'ia32', 'loong64', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];

/** Binary packages say in their names what they are for: `@biomejs/cli-linux-x64-musl`. */
function platformOf(name) {
  const words = name.split('/').pop().split('-');
  return {
    os: words.filter((word) => SYSTEMS.includes(word)),
    cpu: words.filter((word) => PROCESSORS.includes(word)).map((word) => (word === 'armv7' ? 'arm' : word)),
    libc: words.some((word) => word.startsWith('gnu')) ? ['glibc'] : words.includes('musl') ? ['musl'] : [],
  };
}

const lock = JSON.parse(readFileSync(PATH, 'utf8'));
const { '': root, ...locked } = lock.packages;
let added = 0;
for (const parent of Object.values(locked)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const { os, cpu, libc } = platformOf(name);
    if (locked[`node_modules/${name}`] !== undefined || !/^\d/.test(version) || os.length + cpu.length === 0) continue;
    const limits = Object.entries({ cpu, libc, os }).filter(([, values]) => values.length > 0);
    locked[`node_modules/${name}`] = {
      version,
      ...(parent.dev && { dev: true }),
      optional: true,
      ...Object.fromEntries(limits),
    };
    added++;
  }
}
lock.packages = Object.fromEntries([
  ['', root],
  ...Object.entries(locked).sort(([a], [b]) => a.localeCompare(b, 'en')),
]);
writeFileSync(PATH, `${JSON.stringify(lock, undefined, 2)}\n`);
process.stdout.write(`${added} packages of other platforms added to package-lock.json\n`);
