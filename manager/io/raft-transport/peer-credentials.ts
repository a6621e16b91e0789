import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { ApiaryError } from '@apiary/std';
import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';
import type { ServerIdentity } from '../rpc/credentials.js';

/** What a manager shows to the others, and whom it expects to be of its cluster. */
export type ManagerIdentity = ServerIdentity & { clusterId: string; nodeId: string };

/** The name that every manager's certificate carries. */
const SERVER_NAME = 'swarm-manager';

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;
type Socket = Parameters<SecureConnector['connect']>[0];

/**
 * Mutual TLS towards one certain manager, wherever it is: the other side must show the certificate of that node, as a
 * manager of the same cluster. What stands in the way is kept in `problem`, in words and with a code, since gRPC has
 * but words for it.
 */
export class PeerCredentials extends ChannelCredentials {
  readonly #identity: ManagerIdentity;
  readonly #peer: { id: string; addr: string };
  readonly #context: SecureContext;
  #problem: ApiaryError | undefined;

  constructor(identity: ManagerIdentity, peer: { id: string; addr: string }) {
    super();
    this.#identity = identity;
    this.#peer = peer;
    this.#context = createSecureContext({
      ca: identity.rootPem,
      cert: identity.certificateChainPem,
      key: identity.keyPem,
      minVersion: 'TLSv1.3',
    });
  }

  /** Why the other side was not accepted, once that is so. */
  get problem(): ApiaryError | undefined {
    return this.#problem;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(): SecureConnector {
    return {
      connect: (socket) => this.#connect(socket),
      waitForReady: async () => undefined,
      getCallCredentials: () => CallCredentials.createEmpty(),
      destroy: () => undefined,
    };
  }

  #connect(socket: Socket): ReturnType<SecureConnector['connect']> {
    return new Promise((resolve, reject) => {
      const tls = connect({
        socket,
        secureContext: this.#context,
        servername: SERVER_NAME,
        ALPNProtocols: ['h2'],
        // Judged below, where there are words for it. Nothing is sent before.
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined,
      });
      tls.once('error', reject);
      tls.once('close', () => reject(new Error('the connection was closed')));
      tls.once('secureConnect', () => {
        this.#problem = this.#judge(tls);
        if (this.#problem === undefined) resolve({ socket: tls, secure: true });
        else reject(this.#problem);
      });
    });
  }

  #judge(tls: TLSSocket): ApiaryError | undefined {
    const { id, addr } = this.#peer;
    const refused = (what: string) => new ApiaryError('unauthenticated', `manager ${id}: at ${addr} ${what}`);
    if (!tls.authorized) {
      const code = String(tls.authorizationError);
      return code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID'
        ? refused(`is a manager whose certificate is not valid now (${code}): check the clocks of both hosts`)
        : refused(`is somebody with a certificate of another cluster (${code}): check that address`);
    }
    const { CN: nodeId, O: clusterId, OU: unit } = tls.getPeerCertificate().subject;
    if (clusterId !== this.#identity.clusterId) {
      return refused(
        `is a node of another cluster, ${clusterId}; this one is ${this.#identity.clusterId}: check that address`,
      );
    }
    if (nodeId !== id) return refused(`is another node of this cluster, ${nodeId}: two nodes have one address`);
    if (unit !== 'swarm-manager') return refused("is that node, but its certificate is a worker's: it is no manager");
    return undefined;
  }
}
