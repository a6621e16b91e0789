import type { ClusterSpec } from '@apiary/api/model';
import type { ClusterRecord } from '../store/records.js';
import { externalUrlsFor, isSameCertificate } from '../trust/external-ca.js';
import { invalid, unhonoured } from './refusal.js';

/** A root of the user's own making, PEM. Without its key, signers outside of the cluster sign for it. */
export interface GivenRoot {
  certificatePem: string;
  keyPem?: string;
}

/** What a spec asks of the cluster's root. */
export type RootChange =
  | { type: 'none' }
  /** Another one, given or made anew. */
  | { type: 'rotate'; given?: GivenRoot }
  /** Back to the one that the cluster still has. */
  | { type: 'abort'; given: GivenRoot }
  /** The same, with another key, or without. */
  | { type: 'key'; given: GivenRoot };

/**
 * As Docker has it: another root when the counter was changed, or a certificate is given that is not that of the root that
 * signs. Source of the rules and of their words: SwarmKit (manager/controlapi/ca_rotation.go).
 *
 * @throws ApiaryError `invalid-argument` when nobody could sign for the root, or nobody cross-sign it
 */
export function rootChangeOf(
  cluster: Pick<ClusterRecord, 'rootCa' | 'rootRotation' | 'spec'>,
  spec: ClusterSpec,
): RootChange {
  const change = askedOf(cluster, spec);
  checkSigners(cluster, spec, change);
  return change;
}

function askedOf(
  { rootCa, rootRotation, spec: before }: Pick<ClusterRecord, 'rootCa' | 'rootRotation' | 'spec'>,
  { CAConfig: wanted }: ClusterSpec,
): RootChange {
  const given = givenRootOf(wanted);
  if (given === undefined) {
    const isForced = (wanted?.ForceRotate ?? 0) !== (before.CAConfig?.ForceRotate ?? 0);
    return { type: isForced ? 'rotate' : 'none' };
  }
  const signs = rootRotation ?? rootCa;
  if (isSameCertificate(given.certificatePem, signs.certificatePem)) {
    return given.keyPem === signs.keyPem ? { type: 'none' } : { type: 'key', given };
  }
  return { type: isSameCertificate(given.certificatePem, rootCa.certificatePem) ? 'abort' : 'rotate', given };
}

/** The root that a spec gives, if any. @throws ApiaryError `invalid-argument` for a key alone */
export function givenRootOf(wanted: ClusterSpec['CAConfig']): GivenRoot | undefined {
  const { SigningCACert: certificatePem = '', SigningCAKey: keyPem = '' } = wanted ?? {};
  if (certificatePem === '' && keyPem !== '') {
    throw invalid('if a signing CA key is provided, the signing CA cert must also be provided');
  }
  if (certificatePem === '') return undefined;
  return keyPem === '' ? { certificatePem } : { certificatePem, keyPem };
}

function checkSigners(
  { rootCa, rootRotation }: Pick<ClusterRecord, 'rootCa' | 'rootRotation'>,
  spec: ClusterSpec,
  change: RootChange,
): void {
  const needSigner = (root: GivenRoot, which: string) => {
    if (root.keyPem !== undefined) return;
    if (externalUrlsFor(spec, root.certificatePem, rootCa.certificatePem).length === 0) throw noSigner(which);
  };
  if (change.type === 'none') {
    needSigner(rootRotation ?? rootCa, rootRotation === undefined ? 'current' : 'next');
    return;
  }
  if (change.given !== undefined) needSigner(change.given, 'desired');
  if (change.type !== 'rotate' || rootCa.keyPem !== undefined) return;
  if (change.given !== undefined && change.given.keyPem === undefined) {
    throw invalid(
      'rotating from one external CA to a different external CA is not supported: rotate to a root of the cluster first ' +
        '("swarmctl ca --rotate"), and from that to the other one',
    );
  }
  if (externalUrlsFor(spec, rootCa.certificatePem, rootCa.certificatePem).length === 0) {
    throw invalid(
      'must provide an external CA for the current external root CA to generate a cross-signed certificate',
    );
  }
}

/** In Docker's words. @param why  what was found out about those that there are */
export function noSigner(which: string, why = ''): Error {
  return invalid(
    `there must be at least one valid, reachable external CA corresponding to the ${which} CA certificate${why}`,
  );
}

/** Of a URL of https without user information: `https://HOST[:PORT][/PATH][?QUERY]`. */
const URL_FORM = /^https:\/\/[^\s/?#@]+(?:[/?][^\s#@]*)?$/i;

/**
 * The external signers of a spec, each in itself.
 *
 * @throws ApiaryError `invalid-argument` that names the field, `unimplemented` for options, of which there are none
 */
export function checkExternalCas({ CAConfig }: ClusterSpec): void {
  for (const [i, { Protocol = '', URL = '', Options = {} }] of (CAConfig?.ExternalCAs ?? []).entries()) {
    const path = `CAConfig.ExternalCAs[${i}]`;
    if (Protocol.toLowerCase() !== 'cfssl') throw invalid(`${path}: invalid protocol: ${JSON.stringify(Protocol)}`);
    if (!URL_FORM.test(URL)) {
      const example = 'https://signer.example:8888/api/v1/cfssl/sign';
      throw invalid(`${path}: invalid URL ${JSON.stringify(URL)}: expected one of https, as ${example}`);
    }
    const [option] = Object.keys(Options);
    if (option !== undefined) throw unhonoured(`${path}: option ${JSON.stringify(option)}`);
  }
}

/**
 * The root that a new cluster is to begin with: the one that its spec gives, or that of its external signers. Undefined: one
 * that is made for it.
 *
 * @throws ApiaryError `invalid-argument` for signers of a root that nobody knows, or of several
 */
export function firstRootOf(spec: ClusterSpec): GivenRoot | undefined {
  checkExternalCas(spec);
  const signers = spec.CAConfig?.ExternalCAs ?? [];
  const given = givenRootOf(spec.CAConfig);
  const [first] = signers;
  if (first === undefined || given?.keyPem !== undefined) {
    if (given !== undefined && given.keyPem === undefined) throw noSigner('desired');
    return given;
  }
  const certificatePem = given?.certificatePem ?? first.CACert ?? '';
  if (certificatePem === '') {
    throw invalid(
      `external CA ${first.URL}: a new cluster has the root that its signers sign by, and nobody says which: ` +
        'give its certificate, as in "--external-ca protocol=cfssl,url=URL,cacert=FILE"',
    );
  }
  const other = signers.find(({ CACert = '' }) => CACert !== '' && !isSameCertificate(CACert, certificatePem));
  if (other === undefined) return { certificatePem };
  throw invalid(`external CA ${other.URL}: a new cluster has one root, and its signers must be of that one`);
}
