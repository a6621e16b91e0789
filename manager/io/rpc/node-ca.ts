import { rpcStatusOf } from '@apiary/api/client';
import {
  type IssueCertificateRequest,
  type IssueCertificateResponse,
  type NodeCaServer,
  NodeCaService,
} from '@apiary/api/rpc';
import { ApiaryError, type Clock, messageOf, type Rng } from '@apiary/std';
import type { sendUnaryData } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { type Caller, refusalOf } from '../../core/trust/access.js';
import { type Enrolment, enrol, readmit, renewal } from '../../core/trust/enrol.js';
import { signerOf } from '../../core/trust/root-rotation.js';
import type { Replica } from '../ports.js';
import { formerNodeOf, rootDigestOfPem, verifiedKeyOf } from '../trust/authority.js';
import type { Issuer } from '../trust/issuer.js';
import { callerOf } from './caller.js';
import type { RpcService } from './server.js';

interface Context {
  replica: Replica;
  issuer: Issuer;
  clock: Clock;
  /** One for secrets. */
  rng: Rng;
  log: Logger;
}

/**
 * Certificates for nodes: the one service that anybody may call, on every manager. A refusal, and a role, count only on
 * all that was committed when the call came, so that a manager that is behind turns away nobody that the others know.
 */
export function nodeCaService(context: Context): RpcService {
  const implementation: NodeCaServer = {
    getRootCertificate: (_call, callback) => {
      answer(context, callback, async () => ({ rootCertificatePem: rootPemOf(context.replica) }));
    },
    issueCertificate: (call, callback) => {
      answer(context, callback, () => issue(context, call.request, callerOf(call)));
    },
  };
  return { definition: NodeCaService, implementation, access: 'anyone' };
}

async function issue(
  context: Context,
  request: IssueCertificateRequest,
  caller: Caller | undefined,
): Promise<IssueCertificateResponse> {
  const { log } = context;
  const { csrPem } = request;
  const issued =
    request.joinToken !== '' && request.formerCertificatePem === ''
      ? await join(context, request)
      : await certified(context, await knownNode(context, request, caller), csrPem);
  const { nodeId, role, clusterId, signer, certificateChainPem } = issued;
  log.info({ nodeId, role }, wordsOf(request));
  return { nodeId, role, clusterId, certificateChainPem, trustPem: signer.trustPem };
}

type Issued = Enrolment & { certificateChainPem: string };

async function certified({ issuer, log }: Context, enrolment: Enrolment, csrPem: string): Promise<Issued> {
  try {
    return { ...enrolment, certificateChainPem: await issuer.node({ ...enrolment, csrPem }) };
  } catch (error) {
    const { nodeId, role } = enrolment;
    if (enrolment.signer.externalUrls.length > 0) log.warn({ nodeId, role, reason: messageOf(error) }, NOT_SIGNED);
    throw error;
  }
}

const NOT_SIGNED = 'a node gets no certificate: the signers outside of the cluster do not sign it';

/** A node that renews its certificate, or comes back. */
async function knownNode(
  context: Context,
  request: IssueCertificateRequest,
  caller: Caller | undefined,
): Promise<Enrolment> {
  const { replica, clock } = context;
  if (request.formerCertificatePem !== '') return comeBack(context, request);
  if (caller === undefined) {
    const message = 'neither a join token nor a valid certificate of this cluster was shown: join with a token';
    throw new ApiaryError('unauthenticated', message);
  }
  const nowMs = clock.now();
  await replica.barrier();
  const refusal = refusalOf(replica.view, caller, 'node', nowMs);
  if (refusal !== undefined) throw refusal;
  return renewal(replica.view, caller);
}

function wordsOf({ joinToken, formerCertificatePem }: IssueCertificateRequest): string {
  if (formerCertificatePem !== '') return 'node came back with a token';
  return joinToken === '' ? 'certificate renewed' : 'node joined';
}

/** With signers outside, the certificate comes first: no node is made for one that is never signed. */
async function join(context: Context, request: IssueCertificateRequest): Promise<Issued> {
  const { replica, clock, rng } = context;
  const rootPem = rootPemOf(replica);
  const order = {
    joinToken: request.joinToken,
    rootDigest: rootDigestOfPem(rootPem),
    availability: request.availability,
    managerAddr: request.managerAddr,
  };
  const decide = (nodeId?: string) =>
    replica.submit((view, { nowMs, rng: drawn }) => {
      const decision = enrol(view, { ...order, nodeId }, nowMs, drawn);
      // After the token, so that a wrong one costs no more than to compare it; before the node is made.
      verifiedKeyOf(request.csrPem);
      return decision;
    });
  if (!hasExternalSigners(replica)) return certified(context, await decide(), request.csrPem);
  await replica.barrier();
  const { result } = enrol(replica.view, order, clock.now(), rng);
  const issued = await certified(context, result, request.csrPem);
  await decide(issued.nodeId);
  return issued;
}

function hasExternalSigners({ view }: Replica): boolean {
  const cluster = view.cluster();
  return cluster !== undefined && signerOf(cluster).externalUrls.length > 0;
}

/** The token says that somebody lets the node in, and its former key that it is the node. */
async function comeBack({ replica, clock }: Context, request: IssueCertificateRequest): Promise<Enrolment> {
  await replica.barrier();
  const rootPem = rootPemOf(replica);
  const { joinToken, csrPem, formerCertificatePem, formerSignature } = request;
  const proof = { certificatePem: formerCertificatePem, signature: formerSignature, csrPem, rootPem };
  const order = { joinToken, rootDigest: rootDigestOfPem(rootPem), formerNode: () => formerNodeOf(proof) };
  return readmit(replica.view, order, clock.now());
}

function rootPemOf(replica: Replica): string {
  const cluster = replica.view.cluster();
  if (cluster === undefined) throw new ApiaryError('unavailable', 'this manager has no cluster yet: try again');
  return cluster.rootCa.certificatePem;
}

/** Answers with what `work` returns, or with the status of what it throws. */
function answer<T>({ log }: Context, callback: sendUnaryData<T>, work: () => Promise<T>): void {
  // Called within the promise, so that what `work` throws at once is answered too.
  Promise.resolve()
    .then(work)
    .then(
      (value) => callback(null, value),
      (error: unknown) => {
        if (!(error instanceof ApiaryError)) log.error({ err: error }, 'a call for a certificate failed');
        callback(rpcStatusOf(error));
      },
    );
}
