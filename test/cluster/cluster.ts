import { type ApiClient, createClient } from '@apiary/api/client';
import type { JoinRequest, Node, NodeSpec, NodeState, Task } from '@apiary/api/model';
import { ApiaryError, messageOf } from '@apiary/std';
import type { Test } from 'tap';
import {
  type Host,
  type Hosts,
  hostsUp,
  type ListedContainer,
  logTail,
  missingForHosts,
  type SwarmdOptions,
  until,
} from '../hosts/index.js';

const missing = await missingForHosts();

/** For tap's `skip`: false, or a line that says why there can be no cluster on this machine. */
export const skipWithoutHosts = missing.length > 0 && `no test hosts here: ${missing.join(' ')}`;

/** A service's container, and the host whose engine has it. */
export interface PlacedContainer extends ListedContainer {
  host: Host;
}

export interface ClusterOptions extends SwarmdOptions {
  /** How many of the hosts, from h1 on, are managers; default 1. */
  managers?: number;
  /** The UDP port of what is sent between hosts; default 4789. */
  dataPathPort?: number;
}

export interface ServiceOptions {
  replicas: number;
  image?: string;
  restartDelayMs?: number;
  maxAttempts?: number;
}

const ENDED = new Set(['complete', 'shutdown', 'failed', 'rejected', 'remove', 'orphaned']);

/** A spec as `docker service create` sends it, as far as the failures need one. */
export function serviceSpec(name: string, options: ServiceOptions) {
  const { replicas, image = 'busybox:test', restartDelayMs, maxAttempts } = options;
  const restart = {
    ...(restartDelayMs !== undefined && { Delay: restartDelayMs * 1e6 }),
    ...(maxAttempts !== undefined && { MaxAttempts: maxAttempts }),
  };
  return {
    Name: name,
    TaskTemplate: { ContainerSpec: { Image: image }, RestartPolicy: restart },
    Mode: { Replicated: { Replicas: replicas } },
  };
}

/** A cluster on test hosts of its own: h1 is its first manager. */
export class Cluster {
  /** The API that is asked: h1's, or of the host named last to `ask`. */
  manager: ApiClient;

  private constructor(readonly hosts: Hosts) {
    this.manager = this.client(1);
  }

  /** Makes the hosts, and of all of them a cluster. They are removed when `t` ends. */
  static async up(t: Test, count: number, options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = await Cluster.hosts(t, count);
    await cluster.form(options);
    return cluster;
  }

  /** Makes the hosts alone. */
  static async hosts(t: Test, count: number): Promise<Cluster> {
    const hosts = await hostsUp(count);
    t.teardown(() => hosts.down());
    return new Cluster(hosts);
  }

  /**
   * Makes a cluster of those hosts on which swarmd runs, or of all of them when it runs nowhere yet. The others than h1
   * join all at once.
   */
  async form(options: ClusterOptions = {}): Promise<void> {
    const { managers = 1, dataPathPort: DataPathPort } = options;
    if (!this.hosts.all.some((host) => host.isSwarmdRunning)) {
      await Promise.all(this.hosts.all.map((host) => host.startSwarmd(options)));
    }
    const AdvertiseAddr = this.hosts.host(1).address;
    await this.manager.swarmInit({ ListenAddr: '0.0.0.0:2377', AdvertiseAddr, ...(DataPathPort && { DataPathPort }) });
    const others = this.hosts.all.filter((host) => host.number > 1 && host.isSwarmdRunning);
    await Promise.all(others.map(({ number }) => this.join(number, number <= managers ? 'Manager' : 'Worker')));
    for (const host of [this.hosts.host(1), ...others]) await this.nodeIs(host.number, 'ready');
  }

  async join(number: number, role: 'Manager' | 'Worker' = 'Worker'): Promise<void> {
    await this.client(number).swarmJoin(await this.joinRequest(number, role));
  }

  async joinRequest(number: number, role: 'Manager' | 'Worker'): Promise<JoinRequest> {
    const { JoinTokens } = await this.manager.swarmInspect();
    const { Addr } = (await this.manager.node('self')).ManagerStatus ?? {};
    return {
      RemoteAddrs: [Addr ?? ''],
      JoinToken: JoinTokens[role],
      AdvertiseAddr: this.hosts.host(number).address,
      ListenAddr: '0.0.0.0:2377',
    };
  }

  /** From here on, host number n is asked what the cluster is like. */
  ask(number: number): void {
    this.manager = this.client(number);
  }

  /**
   * Waits until the managers are those of the hosts of these numbers and no others, each of them answers and says so,
   * and they agree on who leads.
   *
   * @returns the number of the one that leads
   */
  managersAre(...numbers: number[]): Promise<number> {
    const asked = numbers.map((number) => this.hosts.host(number).name).sort();
    return this.#until(`the managers to be ${asked}`, async () => {
      const leaders = new Set<string>();
      for (const number of numbers) {
        const nodes = await this.client(number).request<Node[]>('GET', '/nodes', {
          signal: AbortSignal.timeout(3_000),
        });
        const managers = nodes.filter(({ ManagerStatus }) => ManagerStatus !== undefined);
        const said = managers.map(({ Description }) => Description.Hostname).sort();
        const roles = nodes.filter(({ Spec }) => Spec.Role === 'manager').length;
        if (said.join() !== asked.join() || roles !== numbers.length) {
          throw new Error(`h${number} says: ${said}; ${roles} should be`);
        }
        const leading = managers.filter(({ ManagerStatus }) => ManagerStatus?.Leader);
        if (leading.length !== 1) throw new Error(`h${number} says that ${leading.length} lead`);
        leaders.add(leading[0]?.Description.Hostname ?? '');
      }
      const [leader, ...others] = leaders;
      if (leader === undefined || others.length > 0) throw new Error(`said to lead: ${[...leaders]}`);
      return Number(leader.slice(1));
    });
  }

  /** Gives a node another spec, as `node update` does: read, changed, written under the version read. */
  async updateNode(number: number, change: Partial<NodeSpec>): Promise<void> {
    const { ID, Spec, Version } = await this.node(number);
    await this.manager.updateNode(ID, Version.Index, { ...Spec, ...change });
  }

  /** The API of host number n. */
  client(number: number): ApiClient {
    return createClient(`unix://${this.hosts.host(number).swarmdSocket}`);
  }

  /** @returns  the service's id */
  async create(name: string, options: ServiceOptions): Promise<string> {
    return (await this.manager.createService(serviceSpec(name, options))).ID;
  }

  async node(number: number): Promise<Node> {
    const { name } = this.hosts.host(number);
    const node = (await this.manager.nodes()).find(({ Description }) => Description.Hostname === name);
    if (node === undefined) throw new ApiaryError('not-found', `${name} is no node of the cluster`);
    return node;
  }

  /** Waits until the manager says that the node is in a state. @returns  the time that it took, in ms */
  async nodeIs(number: number, state: NodeState): Promise<number> {
    const started = performance.now();
    await this.#until(`node ${this.hosts.host(number).name} to be ${state}`, async () => {
      const { Status } = await this.node(number);
      if (Status.State !== state) throw new Error(`${Status.State} ${Status.Message ?? ''}`);
      return true;
    });
    return performance.now() - started;
  }

  async tasks(service: string): Promise<Task[]> {
    // Docker's filter takes prefixes of names and ids too.
    const { ID } = await this.manager.service(service);
    return (await this.manager.tasks({ service: [ID] })).filter(({ ServiceID }) => ServiceID === ID);
  }

  /** What the engines have of a service, stopped containers too. */
  async containers(service: string, hosts: Iterable<Host> = this.hosts): Promise<PlacedContainer[]> {
    const lists = [...hosts].map(async (host) => {
      const containers = await host.engineContainers();
      return containers.map((container) => ({ ...container, host }));
    });
    const all = (await Promise.all(lists)).flat();
    return all.filter(({ Labels }) => Labels['com.docker.swarm.service.name'] === service);
  }

  /**
   * Waits until the service is what was asked for and nothing is under way any more: one running task in each of
   * `replicas` slots, its container running on its node, every other task ended, no other container running, and none
   * that belongs to no task.
   *
   * @returns the running containers, sorted by id
   */
  settled(service: string, replicas: number): Promise<PlacedContainer[]> {
    return this.#until(`${service} to settle at ${replicas}`, () => this.#settled(service, replicas));
  }

  async #settled(service: string, replicas: number): Promise<PlacedContainer[]> {
    const [tasks, nodes] = [await this.tasks(service), await this.manager.nodes()];
    const containers = await this.containers(service);
    const wanted = tasks.filter(({ DesiredState }) => DesiredState === 'running');
    const others = tasks.filter((task) => !wanted.includes(task));
    const running = containers.filter(({ State }) => State === 'running');
    const problems: string[] = [];
    const slots = wanted.map(({ Slot }) => Slot).sort((a = 0, b = 0) => a - b);
    const asked = Array.from({ length: replicas }, (_, i) => i + 1);
    if (slots.join() !== asked.join()) problems.push(`slots that should run: [${slots}]`);
    for (const task of wanted) if (task.Status.State !== 'running') problems.push(sayTask(task));
    for (const task of others) if (!ENDED.has(task.Status.State)) problems.push(sayTask(task));
    for (const task of wanted) {
      const container = running.find(({ Id }) => Id === task.Status.ContainerStatus?.ContainerID);
      const node = nodes.find(({ ID }) => ID === task.NodeID);
      if (container?.host.name !== node?.Description.Hostname) problems.push(`no container for ${sayTask(task)}`);
    }
    if (running.length !== replicas) problems.push(`${running.length} containers run`);
    for (const { Id, Labels, State } of containers) {
      const taskId = Labels['com.docker.swarm.task.id'];
      if (!tasks.some(({ ID }) => ID === taskId)) problems.push(`container ${Id.slice(0, 8)} of no task: ${State}`);
    }
    if (problems.length > 0) throw new Error(problems.join('; '));
    return running.sort((a, b) => (a.Id < b.Id ? -1 : 1));
  }

  /** Removes a service if it is there, and waits until no engine has a container of it. */
  async remove(service: string): Promise<void> {
    await this.manager.removeService(service).catch((error: unknown) => {
      if (!(error instanceof ApiaryError) || error.code !== 'not-found') throw error;
    });
    await this.gone(service);
  }

  /** Waits until no engine has a container of the service. */
  gone(service: string): Promise<void> {
    return this.#until(`the containers of ${service} to go`, async () => {
      const left = await this.containers(service);
      if (left.length > 0) throw new Error(left.map(({ Id, State }) => `${Id.slice(0, 8)} ${State}`).join(', '));
      return true;
    }).then(() => undefined);
  }

  async #until<T>(what: string, fn: () => Promise<T>): Promise<T> {
    try {
      return await until(what, fn, { timeoutMs: 60_000, intervalMs: 50 });
    } catch (error) {
      const logs = this.hosts.all.map((host) => logTail(host.swarmdLog, 8));
      throw new ApiaryError('unavailable', `${messageOf(error)}${logs.join('')}`, { cause: error });
    }
  }
}

function sayTask({ ID, Slot, NodeID, DesiredState, Status }: Task): string {
  const task = `task ${ID.slice(0, 8)} (slot ${Slot}, node ${NodeID?.slice(0, 8)})`;
  return `${task} should be ${DesiredState}, is ${Status.State} ${Status.Err ?? ''}`;
}
