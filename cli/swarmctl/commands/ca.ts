import type { ClusterInfo, Node } from '@apiary/api/model';
import { invariant } from '@apiary/std';
import { boolFlag, type ParsedFlags, textFlag } from '../command-line/index.js';
import { certExpiry } from './cluster-settings.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { externalCa, externalCasOf } from './external-ca.js';
import { type Stage, waitUntilDone } from './patience.js';

const caCert = textFlag('ca-cert', 'Path to the PEM-formatted root CA certificate to use for the new cluster', {
  type: 'pem-file',
});
const caKey = textFlag('ca-key', 'Path to the PEM-formatted root CA key to use for the new cluster', {
  type: 'pem-file',
});
const detach = boolFlag('detach', 'Exit immediately instead of waiting for the root rotation to converge', {
  short: 'd',
});
const quiet = boolFlag('quiet', 'Suppress progress output', { short: 'q' });
const rotate = boolFlag(
  'rotate',
  'Rotate the swarm CA - if no certificate or key are provided, new ones will be generated',
);

export const ca: CommandModule = {
  flags: [caCert, caKey, certExpiry, detach, externalCa, quiet, rotate],
  run: async (context, flags) => {
    const { client, terminal } = context;
    if (flags.get(rotate) !== true) {
      const useless = flags
        .names()
        .find((name) => [caCert, caKey, certExpiry, externalCa].some((flag) => flag.name === name));
      if (useless !== undefined) {
        throw new CommandError(`\`--${useless}\` flag requires the \`--rotate\` flag to update the CA`);
      }
      terminal.out(`${(await client.swarmInspect()).TLSInfo.TrustRoot.trimEnd()}\n`);
      return;
    }
    refuseHalf(flags);
    await begin(context, flags);
    if (flags.get(detach) === true) return;
    const swarm = await converged(context, flags.get(quiet) === true);
    terminal.out(`${swarm.TLSInfo.TrustRoot.trimEnd()}\n`);
  },
};

/** @throws CommandError in docker's words for what does not say enough */
function refuseHalf(flags: ParsedFlags): void {
  if (flags.changed(externalCa) && !flags.changed(caCert)) {
    throw new CommandError(
      "rotating to an external CA requires the `--ca-cert` flag to specify the external CA's cert - " +
        'to add an external CA with the current root CA certificate, use the `update` command instead',
    );
  }
  if (flags.changed(caCert) && !flags.changed(caKey) && !flags.changed(externalCa)) {
    throw new CommandError(
      'the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well',
    );
  }
}

async function begin(context: Context, flags: ParsedFlags): Promise<void> {
  const { client, surroundings } = context;
  const swarm = await client.swarmInspect();
  const read = (path: string | undefined) => (path === undefined ? '' : surroundings.readText(path));
  const expiryNs = flags.get(certExpiry);
  const before = swarm.Spec.CAConfig ?? {};
  const certificatePem = read(flags.get(caCert));
  const keyPem = read(flags.get(caKey));
  const signers = externalCasOf(context, flags, certificatePem);
  const isMadeAnew = certificatePem === '' && keyPem === '';
  const CAConfig = {
    ...before,
    SigningCACert: certificatePem,
    SigningCAKey: keyPem,
    ForceRotate: (before.ForceRotate ?? 0) + (isMadeAnew ? 1 : 0),
    ...(expiryNs !== undefined && { NodeCertExpiry: expiryNs }),
    ...(signers !== undefined && { ExternalCAs: signers }),
  };
  await client.swarmUpdate(swarm.Version.Index, { ...swarm.Spec, CAConfig });
}

/** Shows, on stderr, how many nodes have a certificate of the new root, until the old one is forgotten. */
async function converged(context: Context, isQuiet: boolean): Promise<ClusterInfo> {
  const { client, terminal } = context;
  let last: ClusterInfo | undefined;
  const look = async (): Promise<Stage> => {
    const swarm = await client.swarmInspect();
    last = swarm;
    const text = swarm.RootRotationInProgress ? progressOf(swarm, await client.nodes()) : 'the root is rotated';
    return { isDone: !swarm.RootRotationInProgress, mark: text, line: { id: 'ca', text }, left: async () => [text] };
  };
  const onErr = { ...terminal, out: (text: string) => terminal.err(text), isTty: terminal.isErrTty };
  await waitUntilDone({ ...context, terminal: onErr }, look, {
    timeoutMs: 0,
    quiet: isQuiet,
    what: 'the rotation has not ended',
    background: 'The rotation goes on in the background: "swarmctl ca --rotate" is not needed again.',
  });
  invariant(last !== undefined, 'it was looked at until it was done');
  return last;
}

function progressOf({ TLSInfo: wanted }: ClusterInfo, nodes: Node[]): string {
  const waiting = nodes.filter(
    ({ Description: { TLSInfo: has } }) => has?.CertIssuerPublicKey !== wanted.CertIssuerPublicKey,
  );
  const names = waiting.map(({ ID, Description: { Hostname } }) => Hostname || ID);
  const rotated = `${nodes.length - waiting.length}/${nodes.length} nodes have a certificate of the new root`;
  if (names.length === 0) return rotated;
  const shown = names.length > 5 ? [...names.slice(0, 5), `${names.length - 5} more`] : names;
  return `${rotated}; waiting for ${shown.join(', ')}`;
}
