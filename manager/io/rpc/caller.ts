import type { PeerCertificate } from 'node:tls';
import { issuedMsOf } from '@apiary/api/model';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import type { Caller } from '../../core/trust/access.js';

/**
 * Reads who calls from the certificate that the connection was made with. gRPC leaves it out when there was none,
 * or when it does not stand up to the cluster's root: those callers are nobody.
 */
export function callerOf(call: Pick<ServerInterceptingCallInterface, 'getAuthContext'>): Caller | undefined {
  const certificate: PeerCertificate | undefined = call.getAuthContext().sslPeerCertificate;
  if (certificate === undefined) return undefined;
  const { CN: nodeId, O: clusterId, OU: unit } = certificate.subject;
  const role = unit === 'swarm-manager' ? 'manager' : unit === 'swarm-worker' ? 'worker' : undefined;
  if (role === undefined || typeof nodeId !== 'string' || typeof clusterId !== 'string') return undefined;
  return {
    nodeId,
    role,
    clusterId,
    issuedMs: issuedMsOf({ validFrom: certificate.valid_from, alternativeNames: certificate.subjectaltname }),
    validUntilMs: Date.parse(certificate.valid_to),
  };
}
