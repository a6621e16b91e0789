import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { createNetworkNamespace, deleteNetworkNamespace, KernelError } from './index.js';

/** Why tests that need the kernel's privileges are skipped, or false. */
export const withoutRoot: string | false =
  process.getuid?.() === 0 ? false : 'root is needed, for namespaces and mounts';

export function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'apiary-native-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A network namespace of the test's own: its path, and its name for ip(8). */
export async function networkOf(t: Test, label = 'a'): Promise<{ path: string; name: string }> {
  mkdirSync('/run/netns', { recursive: true });
  const name = `apiary-native-${process.pid}-${label}`;
  const path = `/run/netns/${name}`;
  await createNetworkNamespace(path);
  t.teardown(() => deleteNetworkNamespace(path));
  return { path, name };
}

/** What a command of iproute2 says in JSON. */
export function json(command: 'ip' | 'bridge', name: string, ...args: string[]): Record<string, unknown>[] {
  const { stdout, stderr, status } = spawnSync(command, ['-n', name, '-j', '-d', ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout.trim() === '' ? [] : JSON.parse(stdout);
}

/** The error that `promise` must reject with. */
export async function refusal(promise: Promise<unknown>): Promise<KernelError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof KernelError) return error;
    throw error;
  }
  throw new Error('the kernel was expected to refuse');
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
