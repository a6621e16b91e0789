import { binding } from './binding.js';
import { rethrow } from './kernel-error.js';
import { type NamespaceRef, namespacePath } from './namespace.js';

/**
 * Reads sysctls, those below `net` as the given network namespace sees them.
 *
 * @param names  `net/ipv4/conf/eth0/rp_filter`; with dots when there is no slash, as sysctl(8) takes them
 * @returns      their values by name, without the line's end
 * @throws KernelError: `ENOENT` when the kernel does not know one
 */
export async function readSysctls(names: readonly string[], namespace?: NamespaceRef): Promise<Map<string, string>> {
  const values = await binding
    .readSysctls(names.map(fileOf), namespace && namespacePath(namespace, 'net'))
    .catch((error) => rethrow(error));
  return new Map(names.map((name, i) => [name, (values[i] ?? '').trimEnd()]));
}

/** Writes sysctls in the order given; the first refusal ends it. See readSysctls() for names. */
export async function writeSysctls(
  values: Readonly<Record<string, string | number>>,
  namespace?: NamespaceRef,
): Promise<void> {
  const names = Object.keys(values);
  await binding
    .writeSysctls(names.map(fileOf), Object.values(values).map(String), namespace && namespacePath(namespace, 'net'))
    .catch((error) => rethrow(error));
}

function fileOf(name: string): string {
  const parts = name.includes('/') ? name.split('/') : name.split('.');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw new TypeError(`"${name}" is no sysctl name: write it as net/ipv4/ip_forward`);
  }
  return `/proc/sys/${parts.join('/')}`;
}
