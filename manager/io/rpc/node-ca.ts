import { rpcStatusOf } from '@apiary/api/client';
import {
  type IssueCertificateRequest,
  type IssueCertificateResponse,
  type NodeCaServer,
  NodeCaService,
} from '@apiary/api/rpc';
import { ApiaryError, type Clock } from '@apiary/std';
import type { sendUnaryData } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { type Caller, refusalOf } from '../../core/trust/access.js';
import { type Enrolment, enrol, readmit, renewal } from '../../core/trust/enrol.js';
import type { Replica } from '../ports.js';
import { formerNodeOf, issueCertificate, rootDigestOfPem, verifiedKeyOf } from '../trust/authority.js';
import { callerOf } from './caller.js';
import type { RpcService } from './server.js';

interface Context {
  replica: Replica;
  clock: Clock;
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
  const { replica, clock, log } = context;
  const nowMs = clock.now();
  let enrolment: Enrolment;
  if (request.formerCertificatePem !== '') {
    enrolment = await comeBack(context, request);
  } else if (request.joinToken !== '') {
    enrolment = await join(context, request);
  } else {
    if (caller === undefined) {
      const message = 'neither a join token nor a valid certificate of this cluster was shown: join with a token';
      throw new ApiaryError('unauthenticated', message);
    }
    await replica.barrier();
    const refusal = refusalOf(replica.view, caller, 'node', nowMs);
    if (refusal !== undefined) throw refusal;
    enrolment = renewal(replica.view, caller);
  }
  const { nodeId, role, clusterId } = enrolment;
  const certificateChainPem = issueCertificate({ ...enrolment, ...enrolment.signer, csrPem: request.csrPem, nowMs });
  log.info({ nodeId, role }, wordsOf(request));
  return { nodeId, role, clusterId, certificateChainPem, trustPem: enrolment.signer.trustPem };
}

function wordsOf({ joinToken, formerCertificatePem }: IssueCertificateRequest): string {
  if (formerCertificatePem !== '') return 'node came back with a token';
  return joinToken === '' ? 'certificate renewed' : 'node joined';
}

async function join({ replica }: Context, request: IssueCertificateRequest): Promise<Enrolment> {
  const rootPem = rootPemOf(replica);
  const order = {
    joinToken: request.joinToken,
    rootDigest: rootDigestOfPem(rootPem),
    availability: request.availability,
    managerAddr: request.managerAddr,
  };
  return replica.submit((view, { nowMs, rng }) => {
    const decision = enrol(view, order, nowMs, rng);
    // After the token, so that a wrong one costs no more than to compare it; before the node is made.
    verifiedKeyOf(request.csrPem);
    return decision;
  });
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
