import type { Config, Secret } from '@apiary/api/model';
import { type Struct, structOf } from '../template/index.js';
import { ageMs, compareNaturally, humanDuration } from './human.js';
import type { ListKind } from './list.js';
import { goTime, pairs } from './pretty.js';

/** Docker knows no `raw` form of these lists: it is a template like any other. */
const NO_RAW = { all: 'raw', quiet: 'raw' };

export const SECRETS: ListKind = {
  headings: { ID: 'ID', Name: 'NAME', Driver: 'DRIVER', CreatedAt: 'CREATED', UpdatedAt: 'UPDATED', Labels: 'LABELS' },
  defaultTable: '{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}',
  raw: NO_RAW,
};

export const CONFIGS: ListKind = {
  headings: { ID: 'ID', Name: 'NAME', CreatedAt: 'CREATED', UpdatedAt: 'UPDATED', Labels: 'LABELS' },
  defaultTable: '{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}',
  raw: NO_RAW,
};

export function secretRows(secrets: readonly Secret[], nowMs: number): Struct[] {
  return byName(secrets).map((secret) =>
    structOf('*secret.secretContext', { ...fieldsOf(secret, nowMs), Driver: () => secret.Spec.Driver?.Name ?? '' }),
  );
}

export function configRows(configs: readonly Config[], nowMs: number): Struct[] {
  return byName(configs).map((config) => structOf('*config.configContext', fieldsOf(config, nowMs)));
}

function byName<T extends Secret | Config>(objects: readonly T[]): T[] {
  return [...objects].sort((a, b) => compareNaturally(a.Spec.Name ?? '', b.Spec.Name ?? ''));
}

function fieldsOf({ ID, Spec, CreatedAt, UpdatedAt }: Secret | Config, nowMs: number): Record<string, () => unknown> {
  const ago = (time: string) => `${humanDuration(ageMs(time, nowMs))} ago`;
  return {
    ID: () => ID,
    Name: () => Spec.Name ?? '',
    CreatedAt: () => ago(CreatedAt),
    UpdatedAt: () => ago(UpdatedAt),
    Labels: () =>
      Object.entries(Spec.Labels ?? {})
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, value]) => `${key}=${value}`)
        .join(','),
  };
}

/** `inspect --pretty` of a secret: Docker's page. */
export function prettySecret(secret: Secret): string {
  const { ID, Spec, CreatedAt, UpdatedAt } = secret;
  const lines = [
    `ID:              ${ID}`,
    `Name:              ${Spec.Name ?? ''}`,
    ...labelLines(secret),
    `Driver:            ${Spec.Driver?.Name ?? ''}`,
    `Created at:        ${goTime(CreatedAt)}`,
    `Updated at:        ${goTime(UpdatedAt)}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** `inspect --pretty` of a config: Docker's page, its data last. */
export function prettyConfig(config: Config): string {
  const { ID, Spec, CreatedAt, UpdatedAt } = config;
  const lines = [
    `ID:\t\t\t${ID}`,
    `Name:\t\t\t${Spec.Name ?? ''}`,
    ...labelLines(config),
    `Created at:            \t${goTime(CreatedAt)}`,
    `Updated at:            \t${goTime(UpdatedAt)}`,
    'Data:',
    Buffer.from(Spec.Data ?? '', 'base64').toString(),
  ];
  return `${lines.join('\n')}\n`;
}

function labelLines({ Spec }: Secret | Config): string[] {
  const labels = pairs(Spec.Labels, ' - ', '=');
  return labels.length === 0 ? [] : ['Labels:', ...labels];
}
