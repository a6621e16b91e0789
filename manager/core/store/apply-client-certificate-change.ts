import type { ChangeOf } from './change.js';
import { created, type Landing, updated } from './landing.js';
import type { Tables } from './tables.js';

export function changeClientCertificate(
  tables: Tables,
  change: ChangeOf<'client-certificate-create' | 'client-certificate-revoke'>,
  landing: Landing,
): void {
  const { clientCertificates } = tables;
  if (change.type === 'client-certificate-create') {
    for (const { id, notAfterMs } of clientCertificates.list()) {
      if (notAfterMs <= landing.atMs) clientCertificates.delete(id);
    }
    clientCertificates.put({ ...change.certificate, meta: created(landing) });
    return;
  }
  const certificate = clientCertificates.get(change.id);
  if (certificate === undefined || certificate.revokedAtMs !== undefined) return;
  clientCertificates.put({
    ...certificate,
    revokedAtMs: landing.atMs,
    meta: updated(certificate.meta, landing),
  });
}
