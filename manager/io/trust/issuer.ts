import { isIP } from 'node:net';
import { createKeyAndCsr } from '@apiary/api/client';
import { issueMark } from '@apiary/api/model';
import type { Clock } from '@apiary/std';
import type { ClusterRecord } from '../../core/store/records.js';
import { CLIENT_UNIT, type Signer } from '../../core/trust/index.js';
import type { ServerIdentity } from '../rpc/credentials.js';
import {
  issueApiCertificate,
  issueCertificate,
  issueClientCertificate,
  type RootCa,
  verifiedKeyOf,
} from './authority.js';
import { type Expected, verifiedCertificate, verifiedCrossSigned } from './external-certificate.js';
import { ExternalSigner, type ExternalSigners } from './external-signer.js';
import { caRequestOf } from './root.js';

interface OrderedUnder {
  signer: Omit<Signer, 'trustPem'>;
  clusterId: string;
}

/**
 * Signs for the cluster: by the key of its root or, where its spec names signers outside, through them. These are told who a
 * certificate is for, by the manager alone, and what they answer is looked at before anybody is given it.
 */
export class Issuer {
  readonly #external: ExternalSigner;
  readonly #clock: Clock;

  /** @param options.identity  what this manager shows to signers outside; undefined before it has a certificate */
  constructor(options: { identity: () => ServerIdentity | undefined; clock: Clock }) {
    this.#external = new ExternalSigner(options);
    this.#clock = options.clock;
  }

  /**
   * A node's certificate, then the root, as `issueCertificate` has it.
   *
   * @throws ApiaryError `invalid-argument` as that does; `unavailable` when no signer outside signs as it should;
   *   `failed-precondition` when there is nothing to sign by
   */
  async node(
    order: OrderedUnder & { csrPem: string; nodeId: string; role: 'worker' | 'manager'; validityMs: number },
  ): Promise<string> {
    const { signer, csrPem, nodeId, role, clusterId, validityMs } = order;
    const nowMs = this.#clock.now();
    if (signer.externalUrls.length === 0) {
      return issueCertificate({ ...order, ...signer, nowMs });
    }
    return this.#outside(signer, csrPem, {
      subject: { commonName: nodeId, unit: `swarm-${role}`, organization: clusterId },
      dnsNames: [nodeId, `swarm-${role}`],
      ipAddresses: [],
      isServer: true,
      isClient: true,
      nowMs,
      longestMs: validityMs,
    });
  }

  /** A certificate of a client of the HTTP API; good until then at least. Throws as `node`. */
  async client(order: OrderedUnder & { csrPem: string; clientId: string; notAfterMs: number }): Promise<string> {
    const { signer, csrPem, clientId, clusterId } = order;
    const nowMs = this.#clock.now();
    if (signer.externalUrls.length === 0) {
      return issueClientCertificate({ ...order, ...signer, nowMs });
    }
    return this.#outside(signer, csrPem, {
      subject: { commonName: clientId, unit: CLIENT_UNIT, organization: clusterId },
      dnsNames: [],
      ipAddresses: [],
      isServer: false,
      isClient: true,
      nowMs,
      shortestMs: order.notAfterMs - nowMs,
    });
  }

  /** A key and a certificate of a manager's HTTP API, as `issueApiCertificate`; for no longer than `validityMs`, if that is here. */
  async api(
    order: OrderedUnder & { nodeId: string; names: string[]; validityMs: number },
  ): Promise<{ keyPem: string; certificateChainPem: string }> {
    const { signer, nodeId, clusterId, names } = order;
    const nowMs = this.#clock.now();
    if (signer.externalUrls.length === 0) return issueApiCertificate({ ...order, ...signer, nowMs });
    const { keyPem, csrPem } = createKeyAndCsr();
    const isAddress = (name: string) => isIP(name) !== 0;
    const certificateChainPem = await this.#outside(signer, csrPem, {
      subject: { commonName: nodeId, unit: 'swarm-api', organization: clusterId },
      dnsNames: names.filter((name) => !isAddress(name)),
      ipAddresses: names.filter(isAddress),
      isServer: true,
      isClient: false,
      nowMs,
    });
    return { keyPem, certificateChainPem };
  }

  /** Has a root of ours signed by the one that is, of which only signers outside have the key. @returns PEM */
  async crossSign(current: ClusterRecord['rootCa'], next: RootCa, urls: string[]): Promise<string> {
    const rootPem = current.certificatePem;
    return this.#external.sign({ urls, rootPem }, caRequestOf(next), (certificatePem) =>
      verifiedCrossSigned(certificatePem, { rootPem, nextPem: next.certificatePem, nowMs: this.#clock.now() }),
    );
  }

  /** Resolves once one of the signers shows a certificate of the root. @throws ApiaryError `unavailable` that says why not */
  reach(signers: ExternalSigners): Promise<void> {
    return this.#external.reach(signers);
  }

  async #outside(
    { externalUrls: urls, rootCa, crossSignedPem }: OrderedUnder['signer'],
    csrPem: string,
    wish: Omit<Expected, 'publicKey' | 'rootPem'>,
  ): Promise<string> {
    const publicKey = verifiedKeyOf(csrPem);
    const { commonName, unit, organization } = wish.subject;
    const dnsNames = [...wish.dnsNames, issueMark(wish.nowMs)];
    const rootPem = rootCa.certificatePem;
    const body = {
      certificate_request: csrPem,
      hosts: [...dnsNames, ...wish.ipAddresses],
      subject: { CN: commonName, names: [{ O: organization, OU: unit }] },
    };
    const expected = { ...wish, dnsNames, publicKey, rootPem };
    const certificatePem = await this.#external.sign({ urls, rootPem }, body, (answer) =>
      verifiedCertificate(answer, expected),
    );
    return certificatePem + (crossSignedPem ?? rootPem);
  }
}
