import { createHash, sign, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { createKeyAndCsr, fromRpcError } from '@apiary/api/client';
import { formatHostPort, parseHostPort, parseJoinToken, rootDigestOf } from '@apiary/api/model';
import {
  type GetRootCertificateResponse,
  type IssueCertificateRequest,
  type IssueCertificateResponse,
  NodeCaClient,
} from '@apiary/api/rpc';
import { ApiaryError } from '@apiary/std';
import { ChannelCredentials, type ClientUnaryCall, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { managerChannelOptions, managerCredentials, type NodeIdentity } from './channel.js';
import { nodeIdentityOf } from './identity.js';
import { probeManager } from './probe.js';

const DEFAULT_TIMEOUT_MS = 10_000;
const CROWDED_MS = 1_000;

/**
 * Joins the cluster of the manager at `remoteAddr`. The manager shows its root first, over a connection that proves
 * nothing; only when the root is the one that the token names is the token's secret sent, over a connection on which
 * the manager has proved to be one of that root.
 *
 * @param request.remoteAddr    `HOST[:PORT]`
 * @param request.availability  `active`, `pause` or `drain`; empty for `active`
 * @param request.managerAddr   `HOST:PORT` at which the others will reach this node, in case the token makes it a manager
 * @param request.former        of a node that comes back after its certificate has expired: it stays that node
 * @throws ApiaryError `invalid-argument` for what is no token or address, `unavailable` for an address where no
 *   manager answers, `unauthenticated` for a token that is not this cluster's; the message says which and what to do
 */
export async function enrol(request: {
  remoteAddr: string;
  joinToken: string;
  availability?: string;
  managerAddr?: string;
  former?: NodeIdentity;
  timeoutMs?: number;
}): Promise<NodeIdentity> {
  const { rootDigest } = parseJoinToken(request.joinToken);
  const addr = formatHostPort(parseHostPort(request.remoteAddr, 'remote address'));
  const deadlineMs = Date.now() + (request.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  await probeManager(addr, { deadlineMs });
  const rootPem = await whenThereIsRoom(deadlineMs, () => fetchRoot(addr, rootDigest, deadlineMs));
  await probeManager(addr, { deadlineMs, rootPem });
  const credentials = ChannelCredentials.createFromSecureContext(
    createSecureContext({ ca: rootPem, minVersion: 'TLSv1.3' }),
  );
  const asked = {
    joinToken: request.joinToken.trim(),
    availability: request.availability ?? '',
    managerAddr: request.managerAddr ?? '',
    former: request.former,
  };
  return whenThereIsRoom(deadlineMs, () => {
    const client = new NodeCaClient(addr, credentials, managerChannelOptions());
    return issue(addr, client, deadlineMs, rootPem, asked);
  });
}

/** Asks again, until the deadline, while so many nodes join that a manager turns some of them away. */
async function whenThereIsRoom<T>(deadlineMs: number, ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const waitMs = CROWDED_MS * (0.5 + Math.random());
      const isCrowded = error instanceof ApiaryError && error.code === 'resource-exhausted';
      if (!isCrowded || Date.now() + waitMs >= deadlineMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }
}

/**
 * Gets a new certificate, for a new key, for the node that shows a valid one. Its role is the one that the managers
 * have on record by now.
 *
 * @throws ApiaryError `unauthenticated` when the certificate has expired, `not-found` when the node was
 *   removed, `unavailable` when the manager cannot be reached
 * @param request.signal  ends the call
 */
export async function renewIdentity(request: {
  remoteAddr: string;
  identity: NodeIdentity;
  timeoutMs?: number;
  signal?: AbortSignal;
}): Promise<NodeIdentity> {
  const addr = formatHostPort(parseHostPort(request.remoteAddr, 'remote address'));
  const { credentials, options } = managerCredentials(request.identity);
  const deadlineMs = Date.now() + (request.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const client = new NodeCaClient(addr, credentials, options);
  const asked = { joinToken: '', availability: '', managerAddr: '', former: undefined };
  return issue(addr, client, deadlineMs, request.identity.rootPem, asked, request.signal);
}

/** The root that the manager shows, once it is known to be the one that the token names. */
async function fetchRoot(addr: string, rootDigest: string, deadlineMs: number): Promise<string> {
  const context = createSecureContext({ minVersion: 'TLSv1.3' });
  const anyServer = { rejectUnauthorized: false, checkServerIdentity: () => undefined };
  const credentials = ChannelCredentials.createFromSecureContext(context, anyServer);
  const client = new NodeCaClient(addr, credentials, managerChannelOptions());
  const answer = await unary<GetRootCertificateResponse>(addr, client, (callback) =>
    client.getRootCertificate({}, new Metadata(), { deadline: deadlineMs }, callback),
  ).catch((error: unknown) => {
    if (!(error instanceof ApiaryError) || error.code !== 'unimplemented') throw error;
    const message = `${addr} is no manager of a cluster: it speaks gRPC, but issues no certificates; give the address of a manager`;
    throw new ApiaryError('unavailable', message, { cause: error });
  });
  const rootPem = normalised(answer.rootCertificatePem);
  const found = rootPem === undefined ? 'none' : rootDigestOf(createHash('sha256').update(rootPem).digest());
  if (rootPem === undefined || found !== rootDigest) {
    throw new ApiaryError(
      'unauthenticated',
      `remote CA does not match fingerprint: the join token is for the cluster whose CA has ${rootDigest}, and ${addr} ` +
        `is of one that has ${found}; check the address, or take the token from that cluster (swarmctl join-token worker)`,
    );
  }
  return rootPem;
}

async function issue(
  addr: string,
  client: NodeCaClient,
  deadlineMs: number,
  rootPem: string,
  {
    former,
    ...request
  }: Pick<IssueCertificateRequest, 'joinToken' | 'availability' | 'managerAddr'> & { former: NodeIdentity | undefined },
  signal?: AbortSignal,
): Promise<NodeIdentity> {
  const { keyPem, csrPem } = createKeyAndCsr();
  const proof = {
    formerCertificatePem: former === undefined ? '' : new X509Certificate(former.certificateChainPem).toString(),
    formerSignature: former === undefined ? Buffer.alloc(0) : sign('sha256', Buffer.from(csrPem), former.keyPem),
  };
  const answer = await unary<IssueCertificateResponse>(addr, client, (callback) => {
    const call = client.issueCertificate(
      { ...request, ...proof, csrPem },
      new Metadata(),
      { deadline: deadlineMs },
      callback,
    );
    const cancel = () => call.cancel();
    if (signal?.aborted) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    call.once('status', () => signal?.removeEventListener('abort', cancel));
    return call;
  });
  return nodeIdentityOf(answer.certificateChainPem, keyPem, answer.trustPem || rootPem);
}

/** One call on a channel of its own, which is closed with it. */
function unary<T>(
  addr: string,
  client: NodeCaClient,
  call: (callback: (error: ServiceError | null, answer: T) => void) => ClientUnaryCall,
): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, answer) => {
      client.close();
      if (error === null) resolve(answer);
      else reject(whyFailed(addr, error));
    });
  });
}

function whyFailed(addr: string, error: ServiceError): ApiaryError {
  if (error.code !== status.DEADLINE_EXCEEDED) return fromRpcError(error);
  return new ApiaryError('unavailable', `${addr} did not answer in time: try again`, { cause: error });
}

/** The text of a certificate as everybody writes it, or undefined when it is none. */
function normalised(certificatePem: string): string | undefined {
  try {
    return new X509Certificate(certificatePem).toString();
  } catch {
    return undefined;
  }
}
