import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { Clock } from '@apiary/std';
import { type Environment, run } from './app.js';
import { OWN_SURROUNDINGS } from './surroundings.js';

/** `swarmctl`: composes the command line with the real terminal, clock and daemon. */

// Most commands end before optimised code pays for its making, which on few cores is done at their expense: half of what
// a large stack file costs. What runs for long is still optimised. Later versions of V8 do not know the flag, and say so.
if (process.versions.v8.startsWith('11.')) setFlagsFromString('--interrupt-budget=400000');

const clock: Clock = {
  now: () => Date.now(),
  after: (delayMs, callback) => {
    // A timer of Node's cannot run longer; who asked looks at the clock again then.
    const timer = setTimeout(callback, Math.min(delayMs, 0x7fff_ffff));
    return { cancel: () => clearTimeout(timer) };
  },
};

function ownVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const content: unknown = JSON.parse(text);
  const known = typeof content === 'object' && content !== null && 'version' in content;
  return known ? String(content.version) : 'unknown';
}

const environment: Environment = {
  terminal: {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    isTty: process.stdout.isTTY === true,
    isErrTty: process.stderr.isTTY === true,
    // A pseudo-terminal that nobody gave a size has 0 columns.
    width: process.stdout.columns || 80,
  },
  clock,
  surroundings: OWN_SURROUNDINGS,
  onInterrupt: (handler) => {
    process.on('SIGINT', handler);
    return () => process.off('SIGINT', handler);
  },
  canAsk: process.stdin.isTTY === true,
  readSecretLine: async (question) => (await import('./typed-line.js')).readSecretLine(question),
  readShownLine: async () => (await import('./typed-line.js')).readShownLine(),
  version: ownVersion(),
  connect: async (host, certPath) => {
    const read = (name: string) => OWN_SURROUNDINGS.readText(join(certPath, name));
    const tls = certPath === '' ? undefined : { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') };
    return (await import('@apiary/api/client')).createClient(host, tls);
  },
  defaultCertPath: process.env['SWARM_CERT_PATH'] || undefined,
  defaultHost: process.env['SWARM_HOST'] || undefined,
};

// The reader of a pipe has gone, as `head` does: there is nobody left to tell.
process.stdout.on('error', () => process.exit(0));

process.exitCode = await run(process.argv.slice(2), environment);
