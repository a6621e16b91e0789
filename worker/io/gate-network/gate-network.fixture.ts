import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GateOptions, NamespaceRef } from '@apiary/agent-native';
import type { AssignedNetwork, HostPort, LocalTask, NetworkState, TaskAttachment } from '@apiary/overlay-net/core';
import type { Asker, NameServerOptions } from '@apiary/overlay-net/io';
import { SeededRng, VirtualClock } from '@apiary/std';
import { pino } from 'pino';
import type { Test } from 'tap';
import type { AssignedNetworks, ContainerConfig, EngineContainer, TaskPort } from '../../core/index.js';
import { GateNetwork } from './gate-network.js';
import type { GatewaySystem } from './gateway-system.js';

export const SUBNET = '10.224.3.0/24';
export const logger = pino({ level: 'silent' });

/** A kernel as the tests want it: processes are in the namespace that is their number, those below 10 in the host's. */
class FakeSystem implements GatewaySystem {
  /** `namespace address` of every interface there is. */
  readonly attached: string[] = [];
  gates: GateOptions[] = [];
  refuse = '';
  isRemoved = false;
  looks = 0;
  /** What was done to overlay networks and names. */
  readonly overlay: string[] = [];
  local: LocalTask[] = [];
  published: string[] = [];
  hostPorts: string[] = [];
  readonly reserved = new Set<number>();
  cookies: (bigint | undefined)[] = [];
  readonly askers = new Map<string, readonly string[]>();

  async openGate(options: GateOptions) {
    if (this.refuse === 'gate') throw new Error('no FUSE here');
    this.gates.push(options);
    return { close: () => this.gates.splice(this.gates.indexOf(options), 1) };
  }

  async openGateway() {
    if (this.refuse === 'gateway') throw new Error('nft is not installed');
    return {
      names: { address: '10.224.3.0', namespace: { path: '' } },
      attach: async (
        namespace: { pid: number } | { path: string },
        address: string,
        { hasWayOut = true, hasIpv6 = false, isReachedByIpv6 = false } = {},
      ) => {
        if (this.refuse === 'attach') throw new Error('add veth link: EPERM');
        this.attached.push(`${'pid' in namespace ? namespace.pid : ''} ${address}`);
        if (!hasWayOut) this.overlay.push(`${address} has no way out`);
        if (hasIpv6) this.overlay.push(`${address} beside IPv6`);
        if (isReachedByIpv6) this.overlay.push(`${address} reached by IPv6`);
      },
      ipv6Addresses: this.refuse === 'ipv6' ? '' : '2001:db8::1',
      ipv6AddressOf: (address: string) => (this.refuse === 'ipv6' ? '' : `fd00::${address.split('.').at(-1)}`),
      isAttached: async (address: string) => this.attached.some((each) => each.endsWith(` ${address}`)),
      look: () => {
        this.looks++;
      },
      apply: async ({ publishedPorts }: NetworkState) => {
        this.published = [...publishedPorts.keys()];
      },
      publish: async (ports: readonly HostPort[]) => {
        this.hostPorts = ports.map(({ publishedPort, gatewayAddress }) => `${publishedPort} ${gatewayAddress}`);
      },
      close: async () => {},
    };
  }

  async openOverlay() {
    let told: NetworkState | undefined;
    return {
      wireguardKey: 'key=',
      apply: (state: NetworkState) => {
        told = state;
        this.local = [...state.tasks.values()];
      },
      attach: async (taskId: string, _namespace: NamespaceRef, attachments: readonly TaskAttachment[]) => {
        if (this.refuse === 'overlay') throw new Error('add veth link: ENOSPC');
        for (const { networkId } of attachments) {
          if (!told?.networks.has(networkId)) throw new Error(`network ${networkId} is not known`);
        }
        this.overlay.push(`${taskId} ${attachments.map(({ address }) => address).join()}`);
      },
      found: async (taskId: string) => {
        this.overlay.push(`found ${taskId}`);
      },
      forget: (taskId: string) => {
        this.overlay.push(`forget ${taskId}`);
      },
      offer: async () => {},
      retract: async () => {},
      close: async () => {},
    };
  }

  async openVips() {
    if (this.refuse === 'vips') throw new Error('no BPF here');
    return {
      apply: async ({ tasks }: NetworkState) => {
        this.cookies = Array.from(tasks.values(), ({ namespaceCookie }) => namespaceCookie);
      },
      close: async () => {},
    };
  }

  async namespaceAt(): Promise<never> {
    throw new Error('no such namespace');
  }

  async openNamespaceNames(): Promise<never> {
    throw new Error('no such namespace');
  }

  async removeVips() {
    this.isRemoved = true;
  }

  async cookieOf(pid: number) {
    return BigInt(pid);
  }

  readonly reserve = async (_protocol: string, port: number) => {
    if (this.reserved.has(port)) throw Object.assign(new Error('in use'), { code: 'EADDRINUSE' });
    this.reserved.add(port);
    return { release: () => void this.reserved.delete(port) };
  };

  async openNames({ address }: NameServerOptions) {
    this.overlay.push(`names at ${address}`);
    return {
      apply: () => {},
      know: (from: string, { nameservers }: Asker) => void this.askers.set(from, nameservers),
      forget: (from: string) => void this.askers.delete(from),
      answer: () => {},
      close: async () => {},
    };
  }

  async resolvers() {
    return ['192.0.2.53'];
  }

  async removeGateway() {
    this.isRemoved = true;
  }

  async namespaceOf(pid: number) {
    return pid < 10 ? undefined : pid;
  }

  /** A process walks along a task's path. */
  async walk(taskId: string, pid: number): Promise<string | undefined> {
    const [gate] = this.gates;
    if (gate === undefined) throw new Error('Transport endpoint is not connected');
    return gate.resolve(taskId, { pid });
  }
}

/** @param refuse  what the kernel of this test cannot do */
export function setting(t: Test, refuse = '') {
  const directory = join(mkdtempSync(join(tmpdir(), 'gate-network-')), 'network');
  t.teardown(() => rmSync(join(directory, '..'), { recursive: true }));
  const system = new FakeSystem();
  system.refuse = refuse;
  const troubles: string[] = [];
  const clock = new VirtualClock();
  const make = () => {
    const network: GateNetwork = new GateNetwork({
      directory,
      clock,
      rng: new SeededRng(1),
      logger,
      onTrouble: () => {
        if (network.trouble !== '') troubles.push(network.trouble);
      },
      system,
    });
    return network;
  };
  return { directory, system, troubles, clock, network: make(), make };
}

export function config(taskId: string, networks: TaskAttachment[] = [], ports: TaskPort[] = []): ContainerConfig {
  return {
    name: `web.1.${taskId}`,
    taskId,
    body: { Image: 'i', Labels: { a: 'b' }, HostConfig: { Dns: ['192.0.2.1'] } },
    gateway: {
      hostname: '',
      hosts: [{ name: 'db', address: '192.0.2.9' }],
      dns: { nameservers: ['192.0.2.1'], search: [], options: [] },
      networks,
      ports,
      isPublished: ports.length > 0,
      files: ['hosts', 'resolvConf'],
    },
  };
}

export function container(taskId: string, state: EngineContainer['state'], gatewayAddress?: string): EngineContainer {
  const facts = { id: `c-${taskId}`, taskId, nodeId: 'n1', state, pid: 0, exitCode: 0, oomKilled: false, error: '' };
  return { ...facts, ...(gatewayAddress !== undefined && { gatewayAddress }), ports: [] };
}

export const labelsOf = ({ body }: ContainerConfig) => body['Labels'] as Record<string, string>;
export const addressOf = (created: ContainerConfig) => labelsOf(created)['apiary.gateway.address'];

export const FRONT: TaskAttachment = { networkId: 'front', address: '10.0.0.3', aliases: [], ipv6Address: 'fd00::3' };
export const PUBLISHED = { protocol: 'tcp', publishedPort: 80, targetPort: 80, serviceId: 's', backends: [] };
export const SEALED: TaskAttachment = { networkId: 'sealed', address: '10.0.1.3', aliases: [] };

export function networks(tasks: Record<string, TaskAttachment[]>): AssignedNetworks {
  const network = (networkId: string): [string, AssignedNetwork] => [
    networkId,
    {
      networkId,
      name: networkId,
      vni: 4097,
      subnet: '10.0.0.0/24',
      gateway: '10.0.0.1',
      internal: networkId === 'sealed',
      attachable: false,
      encrypted: false,
      mtu: 0,
      engineNetwork: '',
    },
  ];
  return {
    selfId: 'n1',
    dataPathPort: 4789,
    networks: new Map(['front', 'sealed'].map(network)),
    endpointSets: new Map(),
    nodes: new Map(),
    publishedPorts: new Map(),
    attachments: { networks: [], attachments: [] },
    tasks: new Map(
      Object.entries(tasks).map(([taskId, attachments]) => [
        taskId,
        { taskId, serviceId: 's', nameservers: ['192.0.2.7'], attachments },
      ]),
    ),
  };
}

/** Whether it is over after all that is due now was done. */
export async function settledWithin(promise: Promise<unknown>): Promise<boolean> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  promise.then(over, over);
  await new Promise((resolve) => setImmediate(resolve));
  return isOver;
}

/** Looks each time that all that was due is done. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
