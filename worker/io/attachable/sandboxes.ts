import type { LocalTask, TaskAttachment } from '@apiary/overlay-net/core';
import type { NameServer } from '@apiary/overlay-net/io';
import { type Clock, messageOf } from '@apiary/std';
import type { Logger } from 'pino';
import type { ContainerNames, GatewaySystem } from '../gate-network/gateway-system.js';

export interface SandboxesOptions {
  system: Pick<GatewaySystem, 'namespaceAt' | 'openNamespaceNames'>;
  names: Pick<NameServer, 'answer'>;
  clock: Clock;
  logger: Logger;
  /** `guests` is another. */
  onChange: () => void;
}

interface Sandbox {
  attachments: TaskAttachment[];
  namespace: { inode: number; cookie: bigint | undefined };
  names: ContainerNames | undefined;
  /** Why there are none, as was said last. */
  trouble: string;
}

/** The network namespaces of containers that are no tasks and are on networks: what makes names and VIPs work in them. */
export class Sandboxes {
  readonly #options: SandboxesOptions;
  /** By the file that stands for the namespace. */
  readonly #sandboxes = new Map<string, Sandbox>();
  /** What is done with one comes one after the other. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor(options: SandboxesOptions) {
    this.#options = options;
  }

  /** Those who are on networks, as tasks are. */
  get guests(): Map<string, LocalTask> {
    const guests = new Map<string, LocalTask>();
    for (const [path, { attachments, namespace }] of this.#sandboxes) {
      guests.set(path, {
        taskId: path,
        serviceId: '',
        gatewayAddress: '',
        namespace: namespace.inode,
        namespacePath: path,
        ...(namespace.cookie !== undefined && { namespaceCookie: namespace.cookie }),
        attachments,
      });
    }
    return guests;
  }

  /** The container whose namespace it is has an interface on a network. When it is known already, what it lacks is made. */
  put(path: string, attachment: TaskAttachment): Promise<void> {
    return this.#inTurn(path, () => this.#put(path, attachment));
  }

  /** It has left the network. */
  drop(path: string, { networkId, address }: TaskAttachment): Promise<void> {
    return this.#inTurn(path, async () => {
      const sandbox = this.#sandboxes.get(path);
      if (sandbox === undefined) return;
      this.#hold(
        sandbox,
        sandbox.attachments.filter((each) => each.networkId !== networkId || each.address !== address),
      );
      if (sandbox.attachments.length === 0) {
        sandbox.names?.close();
        this.#sandboxes.delete(path);
      }
      this.#options.onChange();
    });
  }

  close(): void {
    for (const { names } of this.#sandboxes.values()) names?.close();
    this.#sandboxes.clear();
  }

  async #put(path: string, attachment: TaskAttachment): Promise<void> {
    const { system, onChange } = this.#options;
    let sandbox = this.#sandboxes.get(path);
    const isSame = (each: TaskAttachment) =>
      each.networkId === attachment.networkId && each.address === attachment.address;
    if (sandbox === undefined) {
      const namespace = await system.namespaceAt(path);
      sandbox = { attachments: [attachment], namespace, names: undefined, trouble: '' };
      this.#sandboxes.set(path, sandbox);
      onChange();
    } else if (!sandbox.attachments.some(isSame)) {
      this.#hold(sandbox, [...sandbox.attachments, attachment]);
      onChange();
    }
    if (sandbox.names === undefined) await this.#openNames(path, sandbox);
  }

  async #openNames(path: string, sandbox: Sandbox): Promise<void> {
    const { system, names, clock, logger } = this.#options;
    try {
      const options = { namespace: { path }, names, clock, logger };
      sandbox.names = await system.openNamespaceNames(options, sandbox.attachments);
    } catch (error) {
      const reason = messageOf(error);
      if (reason === sandbox.trouble) return;
      sandbox.trouble = reason;
      logger.warn({ namespace: path, reason }, "a container knows this host's names alone");
    }
  }

  #hold(sandbox: Sandbox, attachments: TaskAttachment[]): void {
    sandbox.attachments = attachments;
    if (sandbox.names !== undefined) sandbox.names.attachments = attachments;
  }

  #inTurn(path: string, work: () => Promise<void>): Promise<void> {
    const done = (this.#turns.get(path) ?? Promise.resolve()).then(work).catch((error: unknown) => {
      // It ended meanwhile.
      this.#options.logger.debug({ namespace: path, reason: messageOf(error) }, 'a container has no network namespace');
    });
    this.#turns.set(path, done);
    void done.then(() => {
      if (this.#turns.get(path) === done) this.#turns.delete(path);
    });
    return done;
  }
}
