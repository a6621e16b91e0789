import { isIP } from 'node:net';
import type { ContainerSpec } from '@apiary/api/model';
import { FlagValueError } from '../command-line/index.js';
import { cut } from './words.js';

/** The values of single flags: each function reads one occurrence, and refuses it in Docker's words. */

export function parseLabel(text: string): string {
  const key = cut(text).key.replace(/^[ \t]+/, '');
  if (key === '') throw new FlagValueError(`invalid label '${text}': empty name`);
  if (/[ \t]/.test(key)) throw new FlagValueError(`label '${text}' contains whitespaces`);
  return text;
}

export function parseEnv(text: string): string {
  if (cut(text).key === '') throw new FlagValueError(`invalid environment variable: ${text}`);
  return text;
}

export function parseGenericResource(text: string): string {
  if (text.includes('=')) return text;
  throw new FlagValueError(`invalid generic-resource format \`${text}\` expected \`name=value\``);
}

type CredentialSpec = NonNullable<NonNullable<ContainerSpec['Privileges']>['CredentialSpec']>;

/** `config://ID`, `file://PATH` or `registry://KEY`; nothing takes away what there was. */
export function parseCredentialSpec(text: string): CredentialSpec {
  if (text === '') return {};
  const [, kind, value] = /^(config|file|registry):\/\/(.*)$/s.exec(text) ?? [];
  if (kind === 'config') return { Config: value };
  if (kind === 'file') return { File: value };
  if (kind === 'registry') return { Registry: value };
  throw new FlagValueError(
    'invalid credential spec: value must be prefixed with "config://", "file://", or "registry://"',
  );
}

export function parseIpAddress(text: string): string {
  const address = text.trim();
  const version = isIP(address);
  if (version === 4) return address;
  if (version === 6) return new URL(`http://[${address}]`).hostname.slice(1, -1);
  throw new FlagValueError(`IP address is not correctly formatted: ${text}`);
}

const DOMAIN = /^([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)\.?\s*$/;

export function parseDnsSearch(text: string): string {
  const domain = text.replace(/^ +| +$/g, '');
  if (domain === '.') return domain;
  const [, name] = DOMAIN.exec(domain) ?? [];
  if (name === undefined || name.length >= 255 || !/[a-zA-Z]/.test(domain)) {
    throw new FlagValueError(`${domain} is not a valid domain`);
  }
  return name;
}

/** `HOST:IP` or `HOST=IP`, an IPv6 address also in brackets. @returns `HOST:IP` */
export function parseExtraHost(text: string): string {
  const byEquals = cut(text);
  const { key, value, found } = byEquals.found ? byEquals : cut(text, ':');
  if (!found || key === '' || key.includes(':')) {
    throw new FlagValueError(`bad format for add-host: ${JSON.stringify(text)}`);
  }
  const address = value.replace(/^\[(.+)\]$/, '$1');
  if (address !== 'host-gateway' && isIP(address.trim()) === 0) {
    throw new FlagValueError(`invalid IP address in add-host: ${JSON.stringify(address)}`);
  }
  return `${key}:${address}`;
}

export interface PlacementPreference {
  Spread: { SpreadDescriptor: string };
}

export function parsePlacementPreference(text: string): PlacementPreference {
  const { key, value, found } = cut(text);
  if (!found || key === '') {
    throw new FlagValueError('placement preference must be of the format "<strategy>=<arg>"');
  }
  if (key !== 'spread') {
    throw new FlagValueError(`unsupported placement preference ${key} (only spread is supported)`);
  }
  return { Spread: { SpreadDescriptor: value } };
}

export type Ulimit = NonNullable<ContainerSpec['Ulimits']>[number];

const ULIMITS = new Set(
  'core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(' '),
);

/** `TYPE=SOFT[:HARD]`. */
export function parseUlimit(text: string): Ulimit {
  const { key, value, found } = cut(text);
  if (!found) throw new FlagValueError(`invalid ulimit argument: ${text}`);
  if (!ULIMITS.has(key)) throw new FlagValueError(`invalid ulimit type: ${key}`);
  const parts = value.split(':');
  if (parts.length > 2) {
    throw new FlagValueError(`too many limit value arguments - ${value}, can only have up to two, \`soft[:hard]\``);
  }
  const [soft = 0, hard = soft] = parts.map((part) => {
    if (/^[+-]?\d+$/.test(part)) return Number(part);
    throw new FlagValueError(`strconv.ParseInt: parsing ${JSON.stringify(part)}: invalid syntax`);
  });
  const wrong = 'ulimit soft limit must be less than or equal to hard limit';
  if (hard !== -1 && soft === -1) throw new FlagValueError(`${wrong}: soft: -1 (unlimited), hard: ${hard}`);
  if (hard !== -1 && soft > hard) throw new FlagValueError(`${wrong}: ${soft} > ${hard}`);
  return { Name: key, Soft: soft, Hard: hard };
}

/** `net_admin` is `CAP_NET_ADMIN`; `ALL` and `RESET` stay. */
export function parseCapability(text: string): string {
  const name = text.trim().toUpperCase();
  return name === 'ALL' || name === 'RESET' || name.startsWith('CAP_') ? name : `CAP_${name}`;
}
