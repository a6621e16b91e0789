import { spawnSync } from 'node:child_process';
import { createNetworkNamespace, deleteNetworkNamespace } from '@apiary/agent-native';
import { VirtualClock } from '@apiary/std';
import type { Test } from 'tap';
import type { AssignedNetwork, Endpoint, NetworkState } from '../core/index.js';
import { OverlayNetwork, removeOverlayNetwork } from './overlay-network.js';
import { sh } from './own-network.fixture.js';

export const NAMES = '/run/netns';

/** To one echo request. */
export const answers = (namespace: string, address: string, size = 56): boolean =>
  spawnSync('nsenter', [`--net=${namespace}`, 'busybox', 'ping', '-c1', '-W1', '-s', `${size}`, address]).status === 0;

/** A link that was just made may take a moment to carry, on a machine that is busy. */
export const reaches = (namespace: string, address: string, size?: number): boolean =>
  [1, 2, 3, 4].some(() => answers(namespace, address, size));

export interface TestTask {
  id: string;
  host: number;
  address: string;
  ipv6Address: string;
  namespace: string;
}

/** Hosts that know of one another as much as the managers would tell them. */
export class Cluster {
  readonly hosts: { path: string; names: string; overlay: OverlayNetwork; clock: VirtualClock; repaired: string[] }[] =
    [];
  readonly networks = new Map<string, AssignedNetwork>();
  readonly tasks = new Map<string, TestTask[]>();
  port = 4789;
  /** By which hosts know one another, but for the last digit. */
  underlay = '192.0.2.';
  readonly warnings: string[] = [];

  static async up(t: Test, count: number): Promise<Cluster> {
    const cluster = new Cluster();
    sh('ip link add lan type bridge; ip link set lan up; ip link set lo up');
    t.teardown(async () => {
      await cluster.down();
      sh('ip link del lan');
      if (cluster.warnings.length > 0) throw new Error(cluster.warnings.join());
    });
    for (let i = 1; i <= count; i++) await cluster.#plugIn(i);
    return cluster;
  }

  async #plugIn(number: number): Promise<void> {
    const path = `${NAMES}/h${number}`;
    await createNetworkNamespace(path);
    sh(`ip link add p${number} type veth peer name uplink netns h${number}; ip link set p${number} master lan up`);
    // An address before the one that is advertised, as many hosts have.
    sh(
      `ip link set lo up; ip link set uplink up; ip addr add 198.51.100.${number}/24 dev uplink; ip addr add 192.0.2.${number}/24 dev uplink`,
      path,
    );
    const names = `${NAMES}/names${number}`;
    this.hosts.push({ path, names, ...(await this.#open(path, names)) });
  }

  async #open(path: string, names: string) {
    const clock = new VirtualClock();
    const repaired: string[] = [];
    const logger = {
      info: (fields: object) => {
        if ('repaired' in fields && Array.isArray(fields.repaired)) repaired.push(...fields.repaired);
      },
      warn: (fields: object, message: string) => this.warnings.push(`${message}: ${JSON.stringify(fields)}`),
    };
    const tunnelLink = `apwg${names.at(-1)}`;
    const overlay = await OverlayNetwork.open({ clock, logger, directory: names, host: { path }, tunnelLink });
    return { overlay, clock, repaired };
  }

  /** As when swarmd is started again. */
  async reopen(number: number): Promise<void> {
    const host = this.host(number);
    Object.assign(host, await this.#open(host.path, host.names));
    await this.tell();
  }

  host(number: number) {
    const host = this.hosts[number - 1];
    if (host === undefined) throw new Error(`no host ${number}`);
    return host;
  }

  network(networkId: string, vni: number, changes: Partial<AssignedNetwork> = {}): void {
    const subnet = `10.0.${vni % 256}.0/24`;
    this.networks.set(networkId, {
      networkId,
      name: networkId,
      vni,
      subnet,
      gateway: `10.0.${vni % 256}.1`,
      internal: false,
      attachable: false,
      encrypted: false,
      mtu: 0,
      engineNetwork: '',
      ...changes,
    });
    this.tasks.set(networkId, []);
  }

  /** @param beginning  of its address, when that is not of the network's first subnet: `10.77.0` */
  async task(networkId: string, host: number, number: number, beginning?: string): Promise<TestTask> {
    const { vni = 0, ipv6Subnet } = this.networks.get(networkId) ?? {};
    const namespace = `${NAMES}/${networkId}-${number}`;
    await createNetworkNamespace(namespace);
    sh('ip link set lo up', namespace);
    const id = `${networkId}.${number}`;
    const ipv6Address = ipv6Subnet === undefined ? '' : ipv6Subnet.replace(/\/.*/, `${number}`);
    const task = { id, host, address: `${beginning ?? `10.0.${vni % 256}`}.${number}`, ipv6Address, namespace };
    this.tasks.get(networkId)?.push(task);
    await this.tell();
    const attachments = [{ networkId, address: task.address, aliases: [], ipv6Address }];
    await this.host(host).overlay.attach(task.id, { path: namespace }, attachments);
    return task;
  }

  async end(task: TestTask): Promise<void> {
    for (const tasks of this.tasks.values()) if (tasks.includes(task)) tasks.splice(tasks.indexOf(task), 1);
    await deleteNetworkNamespace(task.namespace);
    await this.tell();
  }

  stateOf(host: number): NetworkState {
    const here = new Set(
      [...this.tasks].filter(([, tasks]) => tasks.some((each) => each.host === host)).map(([id]) => id),
    );
    const endpoint = ({ id, address, ipv6Address, host }: TestTask): [string, Endpoint] => [
      id,
      { taskId: id, serviceId: 's', nodeId: `n${host}`, address, taskName: id, aliases: [], live: true, ipv6Address },
    ];
    const local = [...this.tasks].flatMap(([networkId, tasks]) =>
      tasks.filter((each) => each.host === host).map((task) => ({ networkId, ...task })),
    );
    return {
      selfId: `n${host}`,
      dataPathPort: this.port,
      networks: new Map([...this.networks].filter(([id]) => here.has(id))),
      endpointSets: new Map(
        [...here].map((id) => [
          id,
          { version: 1, endpoints: new Map((this.tasks.get(id) ?? []).map(endpoint)), services: new Map() },
        ]),
      ),
      nodes: new Map(
        this.hosts.map(({ overlay: { wireguardKey } }, i) => [
          `n${i + 1}`,
          { nodeId: `n${i + 1}`, addr: `${this.underlay}${i + 1}`, gatewaySubnet: '', wireguardKey },
        ]),
      ),
      publishedPorts: new Map(),
      tasks: new Map(
        local.map(({ id, networkId, address, ipv6Address }) => [
          id,
          {
            taskId: id,
            serviceId: 's',
            gatewayAddress: '',
            namespace: 0,
            nameservers: [],
            attachments: [{ networkId, address, aliases: [], ipv6Address }],
          },
        ]),
      ),
    };
  }

  async tell(): Promise<void> {
    for (const [i, { overlay }] of this.hosts.entries()) overlay.apply(this.stateOf(i + 1));
    await Promise.all(this.hosts.map(({ overlay }) => overlay.settled()));
  }

  /** Lets so much time pass on a host that it looks after its networks. */
  async look(number: number): Promise<string[]> {
    const { clock, overlay, repaired } = this.host(number);
    clock.advance(3_000);
    await overlay.settled();
    return repaired.splice(0);
  }

  async down(): Promise<void> {
    for (const tasks of this.tasks.values()) for (const { namespace } of tasks) await deleteNetworkNamespace(namespace);
    for (const [i, { overlay, names, path }] of this.hosts.entries()) {
      // Its other end would go with its namespace, but some time later.
      sh(`ip link del p${i + 1}`);
      await overlay.close();
      await removeOverlayNetwork(names);
      await deleteNetworkNamespace(path);
    }
  }
}
