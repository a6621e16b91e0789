import type { ContainerSpec, HealthConfig } from '@apiary/api/model';
import { durationNs } from '../canonical/quantity.js';
import type { Fields } from './fields.js';
import { given } from './fields.js';

/** Parts of a container's spec that stand for themselves. */

export function ns(fields: Fields, key: string): number | undefined {
  const text = fields.text(key);
  return text === undefined ? undefined : durationNs(text);
}

/** A negative duration says nothing that can be done. */
export function positiveNs(fields: Fields, key: string): number | undefined {
  const value = ns(fields, key);
  if (value !== undefined && value < 0) fields.error('a duration cannot be negative', key);
  return value;
}

export function convertHealthcheck(service: Fields): HealthConfig | undefined {
  if (!service.has('healthcheck')) return undefined;
  const check = service.in('healthcheck');
  const test = check.texts('test');
  if (check.flag('disable')) {
    if (test !== undefined && test.length > 0) check.error("test and disable can't be set at the same time", 'test');
    return { Test: ['NONE'] };
  }
  if (test !== undefined && test.length > 0 && !['NONE', 'CMD', 'CMD-SHELL'].includes(test[0] ?? '')) {
    check.warn(`${JSON.stringify(test[0])} is none of NONE, CMD and CMD-SHELL, with which a test begins`, 'test', 0);
  }
  return given({
    Test: test,
    Interval: positiveNs(check, 'interval') || undefined,
    Timeout: positiveNs(check, 'timeout') || undefined,
    StartPeriod: positiveNs(check, 'start_period') || undefined,
    StartInterval: positiveNs(check, 'start_interval') || undefined,
    Retries: check.number('retries'),
  });
}

/** `NAME=VALUE`, sorted; a name alone where there is no value. */
export function convertEnvironment(service: Fields): string[] | undefined {
  const pairs = service.pairs('environment');
  if (pairs === undefined || pairs.length === 0) return undefined;
  return pairs.map(([name, value]) => (value === null ? name : `${name}=${value}`)).sort(byCodePoint);
}

/** `host:address` as the engine's `address host`. */
export function convertHosts(service: Fields): string[] | undefined {
  const hosts = (service.texts('extra_hosts') ?? []).flatMap((entry) => {
    const at = entry.indexOf(':');
    return at < 0 ? [] : [`${entry.slice(at + 1)} ${entry.slice(0, at)}`];
  });
  return hosts.length === 0 ? undefined : hosts;
}

export function convertDns(service: Fields): ContainerSpec['DNSConfig'] {
  const config = given({
    Nameservers: service.texts('dns'),
    Search: service.texts('dns_search'),
    Options: service.texts('dns_opt'),
  });
  return Object.keys(config).length === 0 ? undefined : config;
}

export function convertUlimits(service: Fields): ContainerSpec['Ulimits'] {
  const limits = service.each('ulimits').map((limit) => ({
    Name: limit.name,
    Soft: limit.number('soft') ?? 0,
    Hard: limit.number('hard') ?? 0,
  }));
  return limits.length === 0 ? undefined : limits.sort((a, b) => byCodePoint(a.Name, b.Name));
}

/**
 * Capabilities in the engine's spelling. What is both added and dropped is added; with ALL the others of the same list
 * say nothing more.
 */
export function convertCapabilities(service: Fields): Pick<ContainerSpec, 'CapabilityAdd' | 'CapabilityDrop'> {
  const add = capabilities(service.texts('cap_add'));
  let drop = capabilities(service.texts('cap_drop'));
  if (add.has('ALL')) {
    const wholly = drop.has('ALL');
    return given({ CapabilityAdd: ['ALL'], CapabilityDrop: wholly || drop.size === 0 ? undefined : [...drop].sort() });
  }
  if (drop.has('ALL')) drop = new Set(['ALL']);
  for (const one of add) drop.delete(one);
  return given({
    CapabilityAdd: add.size === 0 ? undefined : [...add].sort(),
    CapabilityDrop: drop.size === 0 ? undefined : [...drop].sort(),
  });
}

function capabilities(names: string[] | undefined): Set<string> {
  return new Set(
    (names ?? []).map((name) => {
      const upper = name.trim().toUpperCase();
      return upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
    }),
  );
}

/** `security_opt` as the engine's privileges; what has no word there is named. */
export function convertPrivileges(service: Fields): ContainerSpec['Privileges'] {
  const credential = service.in('credential_spec');
  const privileges: NonNullable<ContainerSpec['Privileges']> = {};
  if (service.has('credential_spec')) privileges.CredentialSpec = credentialSpec(credential);
  for (const [i, option] of (service.texts('security_opt') ?? []).entries()) {
    const [key = '', value = ''] = /^([^=:]+)[=:]?(.*)$/s.exec(option)?.slice(1) ?? [];
    if (key === 'no-new-privileges') privileges.NoNewPrivileges = value !== 'false';
    else if (key === 'seccomp' && value === 'unconfined') privileges.Seccomp = { Mode: 'unconfined' };
    else if (key === 'apparmor' && value === 'unconfined') privileges.AppArmor = { Mode: 'disabled' };
    else if (key === 'label' && value !== '') {
      privileges.SELinuxContext = { ...privileges.SELinuxContext, ...selinux(value) };
    } else service.warn(`the security option ${JSON.stringify(option)} is not honoured`, 'security_opt', i);
  }
  return Object.keys(privileges).length === 0 ? undefined : privileges;
}

function selinux(value: string): Record<string, string | boolean> {
  if (value === 'disable') return { Disable: true };
  const [key = '', word = ''] = value.split(':');
  return { [key.charAt(0).toUpperCase() + key.slice(1)]: word };
}

function credentialSpec(spec: Fields) {
  const ways = ['config', 'file', 'registry'].filter((way) => spec.has(way));
  if (ways.length > 1) spec.error(`only one of ${ways.join(', ')} may be given`);
  return given({ Config: spec.text('config'), File: spec.text('file'), Registry: spec.text('registry') });
}

export function byCodePoint(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
