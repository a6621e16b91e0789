import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseDuration, textFlag, valueFlag } from '../command-line/index.js';
import { CLIENT_CERTIFICATES, clientCertificateRows, renderList } from '../table/index.js';
import { CommandError, type CommandModule } from './context.js';
import { listFormat, quietIds } from './options.js';
import { removeEach } from './removal.js';

const DAY_NS = 24 * 3600 * 1e9;

const role = textFlag('role', 'What its holder may do ("admin", "operator", "viewer")');
const stack = textFlag('stack', 'Bind it to the objects of one stack');
const validity = valueFlag('validity', 'How long it is good for (ns|us|ms|s|m|h)', 'duration', parseDuration, {
  defaultText: '2160h0m0s',
});
const output = textFlag('output', 'Folder to make for it (default ./NAME)', { short: 'o' });

export const create: CommandModule = {
  flags: [role, stack, validity, output],
  run: async ({ client, terminal }, flags, [name = '']) => {
    const asked = flags.get(role);
    if (asked === undefined) throw new CommandError('--role is required: admin, operator or viewer');
    const folder = resolve(flags.get(output) ?? name);
    if (existsSync(folder)) throw new CommandError(`${folder} exists: choose another folder with --output`);
    const { createKeyAndCsr } = await import('@apiary/api/client');
    const { keyPem, csrPem } = createKeyAndCsr();
    const { ID, CertificatePem, RootPem } = await client.createClientCertificate({
      Name: name,
      Role: asked,
      Stack: flags.get(stack) ?? '',
      ValidityNs: flags.get(validity) ?? 90 * DAY_NS,
      CsrPem: csrPem,
    });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(join(folder, 'key.pem'), keyPem, { mode: 0o600 });
    await writeFile(join(folder, 'cert.pem'), CertificatePem);
    await writeFile(join(folder, 'ca.pem'), RootPem);
    terminal.out(`${ID}\n`);
    terminal.err(
      `Wrote ca.pem, cert.pem and key.pem to ${folder}. With a swarmd that listens on tls://...:2376:\n\n` +
        `    swarmctl --host tcp://MANAGER:2376 --cert-path ${folder} service ls\n` +
        `    DOCKER_HOST=tcp://MANAGER:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=${folder} docker service ls\n`,
    );
  },
};

export const list: CommandModule = {
  flags: [listFormat, quietIds],
  run: async ({ client, terminal }, flags) => {
    const rows = clientCertificateRows(await client.clientCertificates());
    terminal.out(renderList(CLIENT_CERTIFICATES, rows, flags.get(listFormat) ?? '', flags.get(quietIds) ?? false));
  },
};

export const revoke: CommandModule = {
  flags: [],
  run: (context, _flags, names) => removeEach(context, names, (name) => context.client.revokeClientCertificate(name)),
};
