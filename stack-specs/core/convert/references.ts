import type { ContainerSpec } from '@apiary/api/model';
import { byCodePoint } from './container.js';
import { contentName } from './contents.js';
import type { Fields } from './fields.js';

type SecretReference = NonNullable<ContainerSpec['Secrets']>[number];
type ConfigReference = NonNullable<ContainerSpec['Configs']>[number];

const READ_BY_ALL = 0o444;

/** The secrets that a service is given, sorted by name; their ids are put in once they exist. */
export function convertSecretReferences(stack: string, service: Fields, project: Fields): SecretReference[] {
  const references = convert('secret', stack, service, project);
  return references.map(({ name, file }) => ({ File: file, SecretName: name }));
}

/** The configs that a service is given, that of its credential spec among them. */
export function convertConfigReferences(stack: string, service: Fields, project: Fields): ConfigReference[] {
  const references: ConfigReference[] = convert('config', stack, service, project).map(({ name, file }) => ({
    File: file,
    ConfigName: name,
  }));
  const credential = service.in('credential_spec');
  const key = credential.text('config');
  if (key === undefined) return references;
  if (project.in('configs').raw(key) === undefined) {
    credential.error(`undefined config "${key}": name it in the top-level configs`, 'config');
    return references;
  }
  const ConfigName = contentName(stack, key, project.in('configs').in(key));
  return [...references, { Runtime: {}, ConfigName }].sort((a, b) =>
    byCodePoint(a.ConfigName ?? '', b.ConfigName ?? ''),
  );
}

function convert(kind: 'secret' | 'config', stack: string, service: Fields, project: Fields) {
  const known = project.in(`${kind}s`);
  const targets = new Map<string, string>();
  const converted = service.each(`${kind}s`).flatMap((reference) => {
    const source = reference.text('source') ?? '';
    if (known.raw(source) === undefined) {
      reference.error(`undefined ${kind} "${source}": name it in the top-level ${kind}s`, 'source');
      return [];
    }
    const target = reference.text('target') ?? source;
    const other = targets.get(target);
    if (other !== undefined) reference.error(`${JSON.stringify(target)} is the target of "${other}" already`, 'target');
    targets.set(target, source);
    const file = {
      Name: target,
      UID: reference.text('uid') ?? '0',
      GID: reference.text('gid') ?? '0',
      Mode: reference.number('mode') ?? READ_BY_ALL,
    };
    return [{ name: contentName(stack, source, known.in(source)), file }];
  });
  return converted.sort((a, b) => byCodePoint(a.name, b.name));
}
