import { stat } from 'node:fs/promises';
import type { Gate, GateOptions } from '@apiary/agent-native';
import type { GatewayNetwork, GatewayNetworkOptions } from '@apiary/overlay-net/io';

/** A gateway network, as far as tasks are concerned. */
export type Gateway = Pick<GatewayNetwork, 'attach' | 'isAttached' | 'look' | 'close'>;

/** What is asked of the kernel. */
export interface GatewaySystem {
  /** @throws Error that says why this host has none */
  openGate(options: GateOptions): Promise<Gate>;
  openGateway(options: GatewayNetworkOptions): Promise<Gateway>;
  /** Takes away whatever of a gateway network is on this host. */
  removeGateway(): Promise<void>;
  /** Which network namespace a process is in, undefined: our own. @throws Error when there is no such process */
  namespaceOf(pid: number): Promise<number | undefined>;
}

/** The Linux kernel's. The addon is loaded with the first call: a node that runs no tasks does without. */
export const LINUX: GatewaySystem = {
  async openGate(options) {
    const { openGate } = await import('@apiary/agent-native');
    return openGate(options);
  },
  async openGateway(options) {
    const { GatewayNetwork } = await import('@apiary/overlay-net/io');
    return GatewayNetwork.open(options);
  },
  async removeGateway() {
    const { removeGatewayNetwork } = await import('@apiary/overlay-net/io');
    await removeGatewayNetwork();
  },
  async namespaceOf(pid) {
    // One that is in no process namespace of ours is nobody's that we start.
    if (pid === 0) return undefined;
    const [own, theirs] = await Promise.all([stat('/proc/self/ns/net'), stat(`/proc/${pid}/ns/net`)]);
    return own.ino === theirs.ino ? undefined : theirs.ino;
  },
};
