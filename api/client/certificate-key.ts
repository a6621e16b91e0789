import { generateKeyPairSync, sign } from 'node:crypto';
import { certificationRequest, certificationRequestInfo } from '@apiary/api/model';

/**
 * Makes a key (ECDSA P-256), of a node or of a client, and the request that a manager signs it by. The key never leaves who
 * makes it.
 *
 * @returns the key as PKCS #8 and the request as PKCS #10, both PEM
 */
export function createKeyAndCsr(): { keyPem: string; csrPem: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const info = certificationRequestInfo(publicKey.export({ type: 'spki', format: 'der' }));
  const request = certificationRequest(info, sign('sha256', info, privateKey));
  return { keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), csrPem: csrPemOf(request) };
}

/** @param request  PKCS #10, DER */
export function csrPemOf(request: Uint8Array): string {
  const base64 = Buffer.from(request).toString('base64');
  const lines = base64.match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE REQUEST-----', ...lines, '-----END CERTIFICATE REQUEST-----', ''].join('\n');
}
