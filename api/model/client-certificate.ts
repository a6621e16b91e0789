import * as v from 'valibot';

/** Body of `POST /apiary/v1/client-certificates`. */
export const ClientCertificateRequestSchema = v.strictObject({
  Name: v.string(),
  /** `admin`, `operator` or `viewer`. */
  Role: v.string(),
  /** Empty: not bound to a stack. */
  Stack: v.optional(v.string()),
  ValidityNs: v.pipe(v.number(), v.safeInteger()),
  /** PEM of a PKCS #10 request, signed by the key that is to be certified: ECDSA P-256. */
  CsrPem: v.string(),
});
export type ClientCertificateRequest = v.InferOutput<typeof ClientCertificateRequestSchema>;

/** What it answers. PEM. */
export interface IssuedClientCertificate {
  ID: string;
  /** The certificate, then the root. */
  CertificatePem: string;
  RootPem: string;
}

/** One of `GET /apiary/v1/client-certificates`. Times are RFC 3339 in UTC; `RevokedAt` is empty for one that is good. */
export interface ClientCertificate {
  ID: string;
  Name: string;
  Role: string;
  Stack: string;
  CreatedAt: string;
  ExpiresAt: string;
  RevokedAt: string;
}
