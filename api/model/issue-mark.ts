import { CERTIFICATE_SKEW_MS } from './certificate-request.js';

/**
 * A signer outside of the cluster chooses by itself from when on a certificate is good. When it was asked for is then one
 * of the names in the certificate, which the manager that asks has written there.
 */

const MARK_FORM = /\bissued-(\d{1,15})\b/;

/** The name that says when a certificate was asked for, milliseconds since the epoch. */
export function issueMark(atMs: number): string {
  return `issued-${Math.floor(atMs)}`;
}

/**
 * When a certificate was issued, milliseconds since the epoch.
 *
 * @param certificate.validFrom         as Node has it: a date in words
 * @param certificate.alternativeNames  as Node has them: `DNS:a, DNS:b`
 */
export function issuedMsOf(certificate: { validFrom: string; alternativeNames: string | undefined }): number {
  const mark = MARK_FORM.exec(certificate.alternativeNames ?? '')?.[1];
  return mark === undefined ? Date.parse(certificate.validFrom) + CERTIFICATE_SKEW_MS : Number(mark);
}
