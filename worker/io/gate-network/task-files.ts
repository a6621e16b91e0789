import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isResolvedStub } from '@apiary/overlay-net/core';
import { GATEWAY_FILES, type GatewayFile } from '../../core/index.js';

const HOST_RESOLV_CONF = '/etc/resolv.conf';
/** Where systemd-resolved names the servers behind its stub. */
const RESOLVED_RESOLV_CONF = '/run/systemd/resolve/resolv.conf';

/** The files that are mounted into tasks' containers: a folder a task. They outlive this process, and are needed to. */
export class TaskFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  pathOf(taskId: string, file: GatewayFile): string {
    return join(this.#directory, taskId, GATEWAY_FILES[file].slice('/etc/'.length));
  }

  async write(taskId: string, contents: Partial<Record<GatewayFile, string>>): Promise<void> {
    await mkdir(join(this.#directory, taskId), { recursive: true, mode: 0o755 });
    for (const [file, text] of Object.entries(contents) as [GatewayFile, string][]) {
      // In place: what is mounted is this very file.
      await writeFile(this.pathOf(taskId, file), text, { mode: 0o644 });
    }
  }

  async remove(taskId: string): Promise<void> {
    await rm(join(this.#directory, taskId), { recursive: true, force: true });
  }

  /** The tasks that have files. */
  async list(): Promise<string[]> {
    return await readdir(this.#directory).catch(() => []);
  }

  /** The host's resolver, as it can be used from other network namespaces. */
  static async hostResolvConf(): Promise<string> {
    const host = await readFile(HOST_RESOLV_CONF, 'utf8').catch(() => '');
    if (!isResolvedStub(host)) return host;
    return await readFile(RESOLVED_RESOLV_CONF, 'utf8').catch(() => host);
  }
}
