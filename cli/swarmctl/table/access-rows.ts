import type { BoundJoinToken, ClientCertificate } from '@apiary/api/model';
import { type Struct, structOf } from '../template/index.js';
import { ageMs, humanDuration } from './human.js';
import type { ListKind } from './list.js';

/** Docker has neither list: as for secrets, `raw` is a template like any other. */
const NO_RAW = { all: 'raw', quiet: 'raw' };

export const JOIN_TOKENS: ListKind = {
  headings: { ID: 'ID', Role: 'ROLE', Labels: 'LABELS', CreatedAt: 'CREATED', ExpiresAt: 'EXPIRES' },
  defaultTable: '{{.ID}}\t{{.Role}}\t{{.Labels}}\t{{.CreatedAt}}\t{{.ExpiresAt}}',
  raw: NO_RAW,
};

export const CLIENT_CERTIFICATES: ListKind = {
  headings: { ID: 'ID', Name: 'NAME', Role: 'ROLE', Stack: 'STACK', ExpiresAt: 'EXPIRES', Status: 'STATUS' },
  defaultTable: '{{.ID}}\t{{.Name}}\t{{.Role}}\t{{.Stack}}\t{{.ExpiresAt}}\t{{.Status}}',
  raw: NO_RAW,
};

export function joinTokenRows(tokens: readonly BoundJoinToken[], nowMs: number): Struct[] {
  return tokens.map(({ ID, Role, Labels, CreatedAt, ExpiresAt }) =>
    structOf('*token.tokenContext', {
      ID: () => ID,
      Role: () => Role,
      Labels: () =>
        Object.entries(Labels)
          .map(([key, value]) => (value === '' ? key : `${key}=${value}`))
          .join(','),
      CreatedAt: () => `${humanDuration(ageMs(CreatedAt, nowMs))} ago`,
      ExpiresAt: () => minuteOf(ExpiresAt),
    }),
  );
}

export function clientCertificateRows(certificates: readonly ClientCertificate[]): Struct[] {
  return certificates.map(({ ID, Name, Role, Stack, ExpiresAt, RevokedAt }) =>
    structOf('*clientcert.certificateContext', {
      ID: () => ID,
      Name: () => Name,
      Role: () => Role,
      Stack: () => Stack,
      ExpiresAt: () => minuteOf(ExpiresAt),
      Status: () => (RevokedAt === '' ? '' : `revoked ${minuteOf(RevokedAt)}`),
    }),
  );
}

/** @param time  RFC 3339 in UTC, or empty for never */
function minuteOf(time: string): string {
  return time === '' ? '' : `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`;
}
