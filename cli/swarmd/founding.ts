import { createKeyAndCsr } from '@apiary/api/client';
import type { InitRequest } from '@apiary/api/model';
import { type ClusterInit, certificateValidityMs, readNetworkSettings, signerOf } from '@apiary/manager/core';
import { firstRoot, Issuer } from '@apiary/manager/io';
import { ApiaryError, type Clock } from '@apiary/std';
import { type NodeIdentity, nodeIdentityOf } from '@apiary/worker/io';
import type { LogStart } from './manager-start.js';

/** What the first manager of a new cluster begins with. */
export interface Founding {
  identity: NodeIdentity;
  log: LogStart;
}

/**
 * Makes a cluster's root, and signs with it for its first manager.
 *
 * @throws ApiaryError `invalid-argument` for a request that cannot be met; else as `Issuer.node`
 */
export async function foundCluster(
  request: InitRequest,
  { nodeId, clusterId, clock }: { nodeId: string; clusterId: string; clock: Clock },
): Promise<Founding> {
  const spec = request.Spec ?? {};
  const rootCa = firstRoot(spec, clock.now());
  const { keyPem, csrPem } = createKeyAndCsr();
  const order = { csrPem, nodeId, clusterId, role: 'manager' as const, validityMs: certificateValidityMs(spec) };
  const issuer = new Issuer({ identity: () => undefined, clock });
  const chain = await issuer.node({ ...order, signer: signerOf({ rootCa, spec }) });
  const identity = nodeIdentityOf(chain, keyPem, rootCa.certificatePem);
  const availability = availabilityOf(request.Availability);
  const networks = readNetworkSettings(request);
  const create = { rootCa, ...(request.Spec && { spec: request.Spec }), availability, networks };
  return { identity, log: { start: 'bootstrap', create } };
}

function availabilityOf(word: string | undefined): ClusterInit['availability'] {
  if (word === undefined || word === '') return 'active';
  if (word === 'active' || word === 'pause' || word === 'drain') return word;
  throw new ApiaryError('invalid-argument', `invalid availability: "${word}"; expected active, pause or drain`);
}
