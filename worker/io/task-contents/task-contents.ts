import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ContentOpener, readRegistryAuth, registryAuthHeader } from '@apiary/api/client';
import { ApiaryError, messageOf } from '@apiary/std';
import type { Logger } from 'pino';
import {
  type AssignedContent,
  type ContainerConfig,
  type ContentFile,
  type ContentWish,
  type EngineContainer,
  withContents,
} from '../../core/index.js';
import type { MountedFile } from './content-mount.js';
import type { PlainFile } from './template-expansion.js';

export interface TaskContentsOptions {
  /** Of its own, for as long as the machine is up: what is mounted below it is mounted into containers. */
  directory: string;
  /** Whom a container's root is on the host. */
  containerRoot: () => { uid: number; gid: number };
  logger: Logger;
}

/** A file, opened. */
type OpenFile = ContentFile & PlainFile;

/**
 * The secrets and configs of this node's tasks, as files: mounted before the container is made, and wiped once it has
 * ended. They are in clear in this process only between these lines.
 */
export class TaskContents {
  readonly #options: TaskContentsOptions;
  readonly #opener = new ContentOpener();
  /** By task, the end of what is done last with its folder: one thing at a time. */
  readonly #work = new Map<string, Promise<void>>();
  /** The last search for what was left behind. */
  #sweep: Promise<void> = Promise.resolve();

  constructor(options: TaskContentsOptions) {
    this.#options = options;
  }

  /** What the managers are to seal contents to. */
  get contentKey(): Buffer {
    return this.#opener.contentKey;
  }

  /**
   * Mounts what a task's container asks for.
   *
   * @param contentOf  what the managers sent
   * @returns the container's config with the files bound into it
   * @throws ApiaryError `failed-precondition` naming what is gone, `invalid-argument` in a template's words,
   *   `unavailable` or KernelError when it cannot be mounted; nothing is left then
   */
  async prepare(
    config: ContainerConfig,
    contentOf: (id: string) => AssignedContent | undefined,
  ): Promise<ContainerConfig> {
    const { taskId, contents } = config;
    if (contents === undefined) return config;
    const directory = this.#pathOf(taskId);
    await this.#inTurn(taskId, async () => {
      const { mountFiles } = await import('./content-mount.js');
      await mkdir(this.#options.directory, { recursive: true });
      // The root of a container in a user namespace of its own is to come by, and nobody to look around.
      await chmod(this.#options.directory, 0o711);
      await this.#withFiles(contents, contentOf, (files) =>
        mountFiles(directory, files, this.#options.containerRoot()),
      );
    });
    return withContents(config, (i) => join(directory, String(i)));
  }

  /** What an image is pulled with, as the header `X-Registry-Auth` has it. @throws ApiaryError `invalid-argument` */
  registryAuth({ id, sealed }: { id: string; sealed: Uint8Array }): string {
    const opened = this.#opener.open(sealed, id);
    const header = registryAuthHeader(readRegistryAuth(opened.toString('base64')) ?? {});
    opened.fill(0);
    return header;
  }

  /** The container was looked at: what one that has ended had goes. */
  observe({ taskId, state }: EngineContainer): void {
    if (state === 'exited') this.forget(taskId);
  }

  /** The task has no process any more, and will get none: its files go. */
  forget(taskId: string): void {
    const directory = this.#pathOf(taskId);
    this.#inTurn(taskId, async () => (await import('./content-mount.js')).wipe(directory)).catch((error: unknown) => {
      this.#options.logger.error({ task: taskId, reason: messageOf(error) }, 'secrets of a task are left behind');
    });
  }

  /**
   * These are all the containers of this node's tasks, now that the engine answers: files of others go.
   *
   * @param isKnown  whether a task is still heard of, although it has no container
   */
  adopt(containers: readonly EngineContainer[], isKnown: (taskId: string) => boolean): void {
    const states = new Map(containers.map(({ taskId, state }) => [taskId, state]));
    this.#sweep = readdir(this.#options.directory)
      .catch(() => [])
      .then((taskIds) => {
        for (const taskId of taskIds) {
          const state = states.get(taskId);
          if (state === undefined ? !isKnown(taskId) : state === 'exited') this.forget(taskId);
        }
      });
  }

  /** Resolves once what was begun is done. */
  async settled(): Promise<void> {
    await this.#sweep;
    await Promise.allSettled(this.#work.values());
  }

  #pathOf(taskId: string): string {
    return join(this.#options.directory, taskId);
  }

  async #inTurn(taskId: string, work: () => Promise<void>): Promise<void> {
    const before = this.#work.get(taskId) ?? Promise.resolve();
    const done = before.catch(() => {}).then(work);
    this.#work.set(taskId, done);
    try {
      await done;
    } finally {
      if (this.#work.get(taskId) === done) this.#work.delete(taskId);
    }
  }

  /** Opens the files, lets `use` have them, and wipes them. */
  async #withFiles(
    { files, facts, env }: ContentWish,
    contentOf: (id: string) => AssignedContent | undefined,
    use: (files: MountedFile[]) => Promise<void>,
  ): Promise<void> {
    const opened: OpenFile[] = [];
    let contents: Uint8Array[] = [];
    try {
      for (const file of files) opened.push(this.#open(file, contentOf));
      contents = opened.map(({ data }) => data);
      if (opened.some(({ isTemplate }) => isTemplate)) {
        const { expandTemplates } = await import('./template-expansion.js');
        contents = await expandTemplates(opened, facts, env);
      }
      const root = this.#options.containerRoot();
      await use(
        opened.map(({ uid, gid, mode }, i) => ({
          data: contents[i] ?? new Uint8Array(),
          uid: root.uid + uid,
          gid: root.gid + gid,
          mode,
        })),
      );
    } finally {
      for (const { data } of opened) data.fill(0);
      for (const data of contents) data.fill(0);
    }
  }

  #open(file: ContentFile, contentOf: (id: string) => AssignedContent | undefined): OpenFile {
    const { kind, name, contentId } = file;
    const content = contentId === undefined ? undefined : contentOf(contentId);
    if (contentId === undefined || content === undefined) {
      throw new ApiaryError('failed-precondition', `${kind} not found: ${name}: it was removed from the swarm`);
    }
    return { ...file, isTemplate: content.isTemplate, data: this.#opener.open(content.sealed, contentId) };
  }
}
