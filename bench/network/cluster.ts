import { type ApiClient, createClient } from '@apiary/api/client';
import type { PortConfig, ServiceSpec } from '@apiary/api/model';
import { type Host, Hosts, hostsUp, until } from '@apiary/test/hosts';
import { apiary, docker, form } from '../deploy/cluster.js';

/** Where containers find the machine's own files, and so its programs. */
const MACHINE = '/machine';

export interface Wanted {
  /** A program of the machine, and its arguments. */
  command: readonly string[];
  replicas?: number;
  /** On which host; by default on any, spread. */
  host?: number;
  networks?: readonly string[];
  ports?: PortConfig[];
  container?: Partial<NonNullable<ServiceSpec['TaskTemplate']['ContainerSpec']>>;
}

/** A task that runs. */
export interface Running {
  host: Host;
  id: string;
  /** As its host counts. */
  pid: number;
  /** On its first overlay network; empty when it has none. */
  address: string;
}

interface Inspected {
  State: { Pid: number };
}

/** A cluster on test hosts, whose tasks run the machine's own programs; and hosts that are not in it. */
export class BenchCluster {
  readonly #hosts: Hosts;
  readonly nodes: Hosts;
  readonly manager: ApiClient;

  private constructor(hosts: Hosts, nodes: Hosts) {
    this.#hosts = hosts;
    this.nodes = nodes;
    this.manager = createClient(`unix://${nodes.host(1).swarmdSocket}`);
  }

  static async up(nodes: number, strangers = 0): Promise<BenchCluster> {
    const hosts = await hostsUp(nodes + strangers);
    const cluster = new BenchCluster(hosts, new Hosts(hosts.lab, hosts.all.slice(0, nodes)));
    await Promise.all(cluster.nodes.all.map((host) => host.startSwarmd()));
    await form(apiary, cluster.nodes);
    return cluster;
  }

  /** The n-th host, counted from 1: those that are not in the cluster are the last. */
  host(n: number): Host {
    return this.#hosts.host(n);
  }

  async network(name: string): Promise<void> {
    await this.manager.createNetwork({ Name: name, Driver: 'overlay' });
  }

  /** Creates a service and resolves once its tasks run. */
  async run(name: string, wanted: Wanted): Promise<Running[]> {
    const { command, replicas = 1, host, networks = [], ports, container } = wanted;
    await this.manager.createService({
      Name: name,
      TaskTemplate: {
        ContainerSpec: {
          Image: 'busybox:test',
          Command: ['chroot', MACHINE, ...command],
          Mounts: [{ Type: 'bind', Source: '/', Target: MACHINE }],
          ...container,
        },
        RestartPolicy: { Condition: 'any', Delay: 0 },
        Networks: networks.map((Target) => ({ Target })),
        ...(host !== undefined && { Placement: { Constraints: [`node.hostname==h${host}`] } }),
      },
      Mode: { Replicated: { Replicas: replicas } },
      ...(ports !== undefined && { EndpointSpec: { Ports: ports } }),
    });
    return until(`${replicas} tasks of ${name}`, async () => {
      const tasks = await this.manager.tasks({ service: [name], 'desired-state': ['running'] });
      const running = tasks.filter(({ Status }) => Status.State === 'running');
      if (running.length !== replicas) throw new Error(JSON.stringify(tasks.map(({ Status }) => Status)));
      return Promise.all(running.map(({ ID }) => this.#running(ID)));
    });
  }

  async #running(taskId: string): Promise<Running> {
    for (const host of this.nodes) {
      for (const { Id, Labels } of await host.engineContainers()) {
        if (Labels['com.docker.swarm.task.id'] !== taskId) continue;
        const { State } = await docker.clientOf(host).request<Inspected>('GET', `/containers/${Id}/json`);
        const [first] = JSON.parse(Labels['apiary.networks'] ?? '[]');
        return { host, id: Id, pid: State.Pid, address: first?.[1] ?? '' };
      }
    }
    throw new Error(`no container of task ${taskId}`);
  }

  /** The service's VIP on a network. */
  async vip(service: string, network: string): Promise<string> {
    const [{ Endpoint }, networks] = await Promise.all([this.manager.service(service), this.manager.networks()]);
    const id = networks.find(({ Name }) => Name === network)?.Id;
    const [address] = Endpoint?.VirtualIPs?.find(({ NetworkID }) => NetworkID === id)?.Addr?.split('/') ?? [];
    if (address === undefined) throw new Error(`${service} has no VIP on ${network}`);
    return address;
  }

  /** What is before a command that runs in a task's network, and not in its cgroup: VIPs mean nothing to it. */
  static besides({ pid }: Running): [string, ...string[]] {
    return ['nsenter', '-t', `${pid}`, '--net', '--'];
  }

  /** The arguments of `docker` for a command of the machine's that runs in a task, as its own would. */
  static within({ host, id }: Running, command: readonly string[]): string[] {
    return ['--host', `unix://${host.engineSocket}`, 'exec', '-i', id, 'chroot', MACHINE, ...command];
  }

  async down(): Promise<void> {
    await this.#hosts.down();
  }
}
