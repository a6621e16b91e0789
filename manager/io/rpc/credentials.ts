import type { SecureContextOptions } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';

/** What a manager shows, and the root that nodes' certificates must come from. PEM. */
export interface ServerIdentity {
  /** The manager's certificate, then the root. */
  certificateChainPem: string;
  keyPem: string;
  rootPem: string;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;

/**
 * TLS 1.3 with a client's certificate asked for but not required: a node that joins has none yet. Who shows none, or
 * a foreign one, reaches a method only if it is open to anyone. A new identity holds from the next connection on.
 */
export class ClusterCredentials extends ServerCredentials {
  constructor(identity: ServerIdentity) {
    super(
      { requestCert: true, rejectUnauthorized: false, handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
      contextOptions(identity),
    );
  }

  rotate(identity: ServerIdentity): void {
    this.updateSecureContextOptions(contextOptions(identity));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function contextOptions(identity: ServerIdentity): SecureContextOptions {
  return {
    ca: identity.rootPem,
    cert: identity.certificateChainPem,
    key: identity.keyPem,
    minVersion: 'TLSv1.3',
  };
}
