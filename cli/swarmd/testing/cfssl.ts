import { execFile, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { freePort } from './nodes.js';

/** Why there can be no signer here; false when there can. */
export const withoutCfssl =
  spawnSync('cfssl', ['version']).error !== undefined && 'no CFSSL here: apt-get install golang-cfssl';

export interface Cfssl {
  url: string;
  /** Of its CA. */
  rootPem: string;
  /** Nobody answers at `url` from then on. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** Certificates of 80 days, and other CAs under the name that SwarmKit gives to that. */
const POLICY = {
  signing: {
    default: { expiry: '1920h', usages: ['signing', 'key encipherment', 'server auth', 'client auth'] },
    profiles: { CA: { expiry: '43800h', usages: ['cert sign', 'crl sign'], ca_constraint: { is_ca: true } } },
  },
};

/**
 * A real CFSSL with a CA of its own.
 *
 * @param clientRootPem  whoever asks has to show a certificate of this root, or of its own CA; undefined: anybody may ask
 */
export async function cfssl(t: Test, options: { clientRootPem?: string; algorithm?: object } = {}): Promise<Cfssl> {
  const folder = mkdtempSync(join(tmpdir(), 'cfssl-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const at = (name: string) => join(folder, name);
  const run = async (name: string, ...args: string[]) => {
    const { stdout } = await promisify(execFile)('cfssl', args, { cwd: folder });
    const { cert, key }: { cert: string; key: string } = JSON.parse(stdout);
    writeFileSync(at(`${name}.pem`), cert);
    writeFileSync(at(`${name}-key.pem`), key, { mode: 0o600 });
    return cert;
  };
  writeFileSync(at('policy.json'), JSON.stringify(POLICY));
  const key = options.algorithm ?? { algo: 'ecdsa', size: 256 };
  writeFileSync(at('ca.json'), JSON.stringify({ CN: 'corp root', names: [{ O: 'Corp' }], key }));
  writeFileSync(at('tls.json'), JSON.stringify({ CN: 'signer', hosts: ['127.0.0.1'], key }));
  const rootPem = await run('ca', 'gencert', '-initca', 'ca.json');
  const ca = ['-ca', 'ca.pem', '-ca-key', 'ca-key.pem', '-config', 'policy.json'];
  await run('tls', 'gencert', ...ca, 'tls.json');
  const port = await freePort();
  const serve = ['serve', '-address', '127.0.0.1', '-port', String(port), ...ca];
  serve.push('-tls-cert', 'tls.pem', '-tls-key', 'tls-key.pem');
  if (options.clientRootPem !== undefined) {
    writeFileSync(at('clients.pem'), options.clientRootPem + readFileSync(at('ca.pem'), 'utf8'));
    serve.push('-mutual-tls-ca', 'clients.pem');
  }
  let stop = async () => {};
  const start = async () => {
    const child = spawn('cfssl', serve, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    stop = async () => {
      child.kill('SIGKILL');
      await ended;
    };
    const lines = createInterface(child.stderr);
    await new Promise<void>((resolve, reject) => {
      lines.on('line', (line) => {
        if (line.includes('listening')) resolve();
      });
      ended.then(() => reject(new Error('cfssl serve ended')), reject);
    });
  };
  await start();
  t.teardown(() => stop());
  return { url: `https://127.0.0.1:${port}/api/v1/cfssl/sign`, rootPem, stop: () => stop(), start };
}
