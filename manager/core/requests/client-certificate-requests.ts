import { ApiaryError, newId, type Rng } from '@apiary/std';
import type { ClientCertificateRecord, ClientRole } from '../store/records.js';
import type { View } from '../store/view.js';
import type { Decision } from './decision.js';
import { invalid, quoted } from './refusal.js';

export interface ClientCertificateOrder {
  name: string;
  role: string;
  /** Undefined or empty: all of the cluster. */
  stack?: string | undefined;
  validityMs: number;
}

const ROLES: readonly string[] = ['admin', 'operator', 'viewer'] satisfies ClientRole[];
const NAME_FORM = /^[a-zA-Z0-9][a-zA-Z0-9_.@-]{0,62}$/;
const HOUR_MS = 3600_000;
const LONGEST_MS = 10 * 365 * 24 * HOUR_MS;

/**
 * Puts a client certificate on record, before it is signed.
 *
 * @throws ApiaryError `invalid-argument` that names the field, `already-exists` while a good one has the name
 */
export function createClientCertificate(
  view: View,
  { name, role, stack, validityMs }: ClientCertificateOrder,
  nowMs: number,
  rng: Rng,
): Decision<Omit<ClientCertificateRecord, 'meta'>> {
  if (!NAME_FORM.test(name)) {
    throw invalid(
      `invalid name ${quoted(name)}: expected up to 63 letters, digits and _ . @ -, a letter or digit first`,
    );
  }
  if (!isRole(role)) throw invalid(`invalid role ${quoted(role)}: expected ${ROLES.join(', ')}`);
  if (stack !== undefined && stack !== '' && role === 'admin') {
    throw invalid('an admin is not bound to a stack: use the role operator or viewer');
  }
  if (!(validityMs >= HOUR_MS && validityMs <= LONGEST_MS)) {
    throw invalid('invalid validity: expected an hour to ten years');
  }
  const holder = view
    .clientCertificates()
    .find((each) => each.name === name && each.revokedAtMs === undefined && each.notAfterMs > nowMs);
  if (holder !== undefined) {
    throw new ApiaryError('already-exists', `client certificate ${name} exists (${holder.id}): revoke it first`);
  }
  const cluster = view.cluster();
  if (cluster === undefined) throw new ApiaryError('unavailable', 'this manager has no cluster yet: try again');
  const certificate = {
    id: newId(rng),
    name,
    role,
    ...(stack !== undefined && stack !== '' && { stack }),
    notAfterMs: nowMs + validityMs,
  };
  return {
    guards: [{ type: 'unchanged', kind: 'cluster', id: cluster.id }],
    changes: [{ type: 'client-certificate-create', certificate }],
    result: certificate,
  };
}

/**
 * From when this is committed, every manager that has it refuses the certificate. Once more does no harm.
 *
 * @param reference  id or name
 * @returns the id
 * @throws ApiaryError `not-found`
 */
export function revokeClientCertificate(view: View, reference: string): Decision<string> {
  const found =
    view.clientCertificate(reference) ??
    view.clientCertificates().findLast(({ name, revokedAtMs }) => name === reference && revokedAtMs === undefined);
  if (found === undefined) throw new ApiaryError('not-found', `client certificate ${reference} not found`);
  return { guards: [], changes: [{ type: 'client-certificate-revoke', id: found.id }], result: found.id };
}

function isRole(text: string): text is ClientRole {
  return ROLES.includes(text);
}
