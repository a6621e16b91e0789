import type { ContentKind, SecretSpec } from '@apiary/api/model';
import { invalid, quoted, unhonoured } from './refusal.js';

/** As Docker has them since 23.0; what is as large is refused. */
const LIMIT_BYTES: Record<ContentKind, number> = { secret: 500 * 1024, config: 1000 * 1024 };
const LONGEST_NAME = 64;
const NAME = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/;

/**
 * Checks a secret or a config that is to be made.
 *
 * @throws ApiaryError `invalid-argument` in SwarmKit's words, `unimplemented` for drivers, which this version has none of
 */
export function checkContentSpec(kind: ContentKind, spec: SecretSpec): void {
  const { Name = '', Data = '', Driver, Templating } = spec;
  if (Name === '') throw invalid('name must be provided');
  if (Name.length > LONGEST_NAME || !NAME.test(Name)) {
    throw invalid(
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
    );
  }
  if (Driver !== undefined) throw unhonoured('Driver', 'give the secret its data');
  checkData(kind, Data);
  checkTemplating(Templating);
}

/** @param data  in the form that `standardBase64` gives */
export function checkData(kind: ContentKind, data: string): void {
  const bytes = (data.length / 4) * 3 - (/=*$/.exec(data)?.[0].length ?? 0);
  if (bytes > 0 && bytes < LIMIT_BYTES[kind]) return;
  throw invalid(`${kind} data must be larger than 0 and less than ${LIMIT_BYTES[kind]} bytes`);
}

/** Docker takes any name here, and its agents then refuse the tasks. */
export function checkTemplating(templating: SecretSpec['Templating']): void {
  const { Name = '', Options = {} } = templating ?? {};
  if (templating !== undefined && Name !== 'golang') {
    throw invalid(`Templating.Name: unknown template driver ${quoted(Name)}: expected golang`);
  }
  if (Object.keys(Options).length > 0)
    throw unhonoured('Templating.Options', 'the golang driver has none: remove them');
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Data as Go's decoder of JSON takes them, without the line breaks that it lets pass.
 *
 * @throws ApiaryError `invalid-argument` for what is not base64, which says where without showing it
 */
export function standardBase64(text: string): string {
  const data = text.replace(/[\r\n]+/g, '');
  if (BASE64.test(data)) return data;
  const bad = /[^A-Za-z0-9+/=]|=+[^=]/.exec(data)?.index ?? data.length;
  throw invalid(`illegal base64 data at input byte ${bad}: Data must be in base64, padded`);
}
