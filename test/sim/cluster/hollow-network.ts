import type { Clock } from '@apiary/std';
import { type AssignedNetworks, takesConnections } from '@apiary/worker/core';
import { type ContainerConfig, type TaskNetwork, Withdrawals } from '@apiary/worker/io';

/** Networks without a kernel: what a host does by what its agent was told, and nothing of it but that. */
export class HollowNetwork implements TaskNetwork {
  readonly trouble = '';
  readonly vipTrouble = '';
  readonly wireguardKey = '';
  readonly ipv6Addresses = '';
  readonly attachments = { attachments: [], isComplete: true };
  readonly #withdrawals: Withdrawals;
  #state: AssignedNetworks | undefined;

  constructor(clock: Clock) {
    this.#withdrawals = new Withdrawals(clock);
  }

  /** What the managers said last of networks; undefined until they have said all of it. */
  get state(): AssignedNetworks | undefined {
    return this.#state;
  }

  /** Whether this host leads new connections to the task. */
  leadsTo(taskId: string): boolean {
    return this.#state !== undefined && takesConnections(this.#state, taskId);
  }

  use(): void {}

  adopt(): void {}

  observe(): void {}

  forget(): void {}

  async prepare(config: ContainerConfig): Promise<ContainerConfig> {
    return config;
  }

  async start(_config: ContainerConfig, _containerId: string, start: () => Promise<void>): Promise<'started'> {
    await start();
    return 'started';
  }

  apply(state: AssignedNetworks): void {
    this.#state = state;
    this.#withdrawals.applied(state);
  }

  async withdrawn(taskId: string, serviceId: string): Promise<void> {
    await this.#withdrawals.of(taskId, serviceId);
  }

  async putOut(): Promise<void> {}

  async close(): Promise<void> {
    this.#withdrawals.close();
  }

  async remove(): Promise<void> {
    this.#withdrawals.close();
  }
}
