import { ApiaryError } from '@apiary/std';
import type { ClientCertificateRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/**
 * What the holder of a client certificate may ask of the HTTP API. An admin may do what whoever has the daemon's socket
 * may. An operator works with services and what they are made of, and sees the cluster; a viewer only sees it. Neither gets
 * what opens other doors: join tokens, keys, backups, the engine of a host.
 */

/** What a certificate says of who holds it. */
export interface ClientName {
  id: string;
  clusterId: string;
}

/** The label that says to which stack an object belongs. */
export const STACK_LABEL = 'com.docker.stack.namespace';

/** First words of paths that show the cluster without opening a door. */
const SEEN = /^\/(?:_ping|version|info|services|tasks|nodes|networks|secrets|configs|events|apiary\/v1\/watch)(?:\/|$)/;
const WORKED_WITH = /^\/(?:services|networks|secrets|configs)(?:\/|$)/;
/** What of it a scope can be put around. */
const SCOPED = /^\/(?:_ping|version|info|services|tasks|networks|secrets|configs|apiary\/v1\/watch)(?:\/|$)/;

/**
 * The certificate's record, when it is good.
 *
 * @throws ApiaryError `unauthenticated` for one that is not on record, revoked, expired, or another cluster's
 */
export function clientOf(view: View, name: ClientName, nowMs: number): ClientCertificateRecord {
  const record = view.clientCertificate(name.id);
  if (record === undefined || view.cluster()?.id !== name.clusterId) {
    throw new ApiaryError('unauthenticated', `client certificate ${name.id} is not, or no longer, one of this cluster`);
  }
  if (record.revokedAtMs !== undefined) {
    throw new ApiaryError('unauthenticated', `client certificate ${record.name} (${record.id}) was revoked`);
  }
  if (record.notAfterMs <= nowMs) {
    throw new ApiaryError('unauthenticated', `client certificate ${record.name} (${record.id}) has expired`);
  }
  return record;
}

/**
 * @param request.path  without the API's version and without a query
 * @throws ApiaryError `permission-denied` that names the role
 */
export function checkClient(
  client: ClientCertificateRecord,
  request: { method: string; path: string; isEngines: boolean },
): void {
  const { role, stack, name } = client;
  if (role === 'admin') return;
  const { method, path, isEngines } = request;
  const isReading = method === 'GET' || method === 'HEAD';
  const isAllowed =
    !isEngines &&
    (stack === undefined ? SEEN : SCOPED).test(path) &&
    (isReading || (role === 'operator' && WORKED_WITH.test(path)));
  if (isAllowed) return;
  const scope = stack === undefined ? '' : ` of stack ${stack}`;
  throw new ApiaryError('permission-denied', `${name} is ${role}${scope}: ${method} ${path} is not for that role`);
}
