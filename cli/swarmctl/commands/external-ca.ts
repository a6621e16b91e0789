import type { ClusterSpec } from '@apiary/api/model';
import { FlagValueError, listFlag, type ParsedFlags } from '../command-line/index.js';
import type { Context } from './context.js';

type ExternalCa = NonNullable<NonNullable<ClusterSpec['CAConfig']>['ExternalCAs']>[number];

/** `CACert` is the file's name until it is read. */
export const externalCa = listFlag(
  'external-ca',
  'Specifications of one or more certificate signing endpoints',
  parseExternalCa,
  { type: 'external-ca' },
);

/** As docker reads it: `protocol=cfssl,url=URL[,cacert=FILE]`. @throws FlagValueError */
function parseExternalCa(text: string): ExternalCa {
  const read: ExternalCa = {};
  for (const field of text.split(',')) {
    const [name = '', ...rest] = field.split('=');
    if (rest.length === 0) throw new FlagValueError(`invalid field '${field}' must be a key=value pair`);
    const value = rest.join('=');
    const key = name.toLowerCase();
    if (key === 'protocol') {
      if (value.toLowerCase() !== 'cfssl') throw new FlagValueError(`unrecognized external CA protocol ${value}`);
      read.Protocol = 'cfssl';
    } else if (key === 'url') read.URL = value;
    else if (key === 'cacert') read.CACert = value;
    else read.Options = { ...read.Options, [name]: value };
  }
  if (read.Protocol === undefined) throw new FlagValueError('the external-ca option needs a protocol= parameter');
  if (read.URL === undefined) throw new FlagValueError('the external-ca option needs a url= parameter');
  return read;
}

/**
 * The signers that the flags name, with the certificates of their roots.
 *
 * @param rootPem  of those that name none
 * @returns undefined when no flag was given
 */
export function externalCasOf(
  { surroundings }: Pick<Context, 'surroundings'>,
  flags: ParsedFlags,
  rootPem?: string,
): ExternalCa[] | undefined {
  return flags.get(externalCa)?.map(({ CACert: path, ...signer }) => {
    const pem = path === undefined ? rootPem : surroundings.readText(path);
    return pem === undefined ? signer : { ...signer, CACert: pem };
  });
}
