import type { ContainerSpec, EndpointSpec, NetworkSpec, Placement, ServiceSpec } from '@apiary/api/model';
import type { Test } from 'tap';
import { type Cluster, type PlacedContainer, serviceSpec } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';

/** What a service of these tests is to be. */
export interface Asked {
  replicas?: number;
  networks?: (string | { Target: string; Aliases?: string[] })[];
  /** On which host; by default on any, spread. */
  host?: number;
  placement?: Placement;
  endpoint?: EndpointSpec;
  container?: ContainerSpec;
  /** What the task does; by default nothing. */
  script?: string;
  spec?: Partial<ServiceSpec>;
}

/** A cluster, and what the tests of its networks do in it, over and over. */
export class NetworkBed {
  constructor(readonly cluster: Cluster) {}

  get hosts(): readonly Host[] {
    return this.cluster.hosts.all;
  }

  /** A network that goes with the test. */
  async network(t: Test, name: string, spec: Partial<NetworkSpec> = {}): Promise<void> {
    t.teardown(() => this.cluster.manager.removeNetwork(name));
    await this.cluster.manager.createNetwork({ Name: name, Driver: 'overlay', ...spec });
  }

  /** A service that goes with the test; its tasks may not run yet. */
  async create(t: Test, name: string, asked: Asked = {}): Promise<void> {
    const { replicas = 1, networks = [], host, endpoint, container, script = 'sleep 1d', placement, spec } = asked;
    const plain = serviceSpec(name, { replicas, restartDelayMs: 0 });
    const { TaskTemplate } = plain;
    t.teardown(() => this.cluster.remove(name));
    await this.cluster.manager.createService({
      ...plain,
      TaskTemplate: {
        ...TaskTemplate,
        ContainerSpec: { ...TaskTemplate.ContainerSpec, Command: ['sh', '-c', script], ...container },
        Networks: networks.map((network) => (typeof network === 'string' ? { Target: network } : network)),
        ...(placement && { Placement: placement }),
        ...(host !== undefined && { Placement: { Constraints: [`node.hostname==h${host}`] } }),
      },
      ...(endpoint && { EndpointSpec: endpoint }),
      ...spec,
    });
  }

  /** A service that goes with the test, once all of its tasks run. */
  async run(t: Test, name: string, asked: Asked = {}): Promise<PlacedContainer[]> {
    await this.create(t, name, asked);
    return this.cluster.settled(name, asked.replicas ?? 1);
  }

  async one(t: Test, name: string, asked: Asked = {}): Promise<PlacedContainer> {
    const [container] = await this.run(t, name, { ...asked, replicas: 1 });
    if (container === undefined) throw new Error(`no container of ${name}`);
    return container;
  }

  async scale(name: string, Replicas: number): Promise<void> {
    const { ID, Spec, Version } = await this.cluster.manager.service(name);
    await this.cluster.manager.updateService(ID, Version.Index, { ...Spec, Mode: { Replicated: { Replicas } } });
  }
}

/** Runs a shell's command in a container to its end. @throws Error unless it succeeds */
export async function inside({ Id, host }: PlacedContainer, command: string): Promise<string> {
  const { code, stdout, stderr } = await host.engineDocker('exec', Id, 'sh', '-c', command);
  if (code !== 0) throw new Error(`${command} in ${Id.slice(0, 8)}: ${stdout}${stderr}`);
  return stdout.trim();
}

/** Runs a shell's command on a host to its end. @throws Error unless it succeeds */
export async function on(host: Host, command: string): Promise<string> {
  const { code, stdout, stderr } = await host.exec('sh', ['-c', command]);
  if (code !== 0) throw new Error(`${command} on ${host.name}: ${stdout}${stderr}`);
  return stdout.trim();
}

export const reaches = (container: PlacedContainer, address: string, options = ''): Promise<boolean> =>
  inside(container, `ping -c1 -W1 ${options} ${address}`).then(
    () => true,
    () => false,
  );

/** A container's address on its n-th overlay network. */
export const addressOf = ({ Labels }: PlacedContainer, n = 0): string =>
  JSON.parse(Labels['apiary.networks'] ?? '[]')[n]?.[1] ?? '';

/** On its first, where that is of IPv6. */
export const ipv6AddressOf = ({ Labels }: PlacedContainer): string =>
  JSON.parse(Labels['apiary.networks'] ?? '[]')[0]?.[2] ?? '';

/** What a name stands for, as a task is told. */
export async function lookUp(container: PlacedContainer, name: string): Promise<string[]> {
  const said = await inside(container, `nslookup ${name} 2>&1 || true`);
  const [, ...answers] = said.split(/\n\s*\n/);
  return [...answers.join('\n').matchAll(/Address(?: \d+)?: (\S+)/g)].map(([, address]) => address ?? '');
}

/** The process ids of containers, as their host counts. */
export async function pidsOf(host: Host, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const { code, stdout, stderr } = await host.engineDocker('inspect', '-f', '{{.State.Pid}}', ...ids);
  if (code !== 0) throw new Error(stderr);
  return stdout.trim().split('\n');
}

/**
 * Whether each container reaches each other one by its address on its first network, asked once: a packet a pair, all
 * containers of a host by one command.
 *
 * @returns  the pairs that do not
 */
export async function unreached(containers: readonly PlacedContainer[]): Promise<string[]> {
  const addresses = containers.map((container) => addressOf(container));
  const hosts = new Map(containers.map(({ host }) => [host.name, host]));
  const asked = Array.from(hosts.values(), async (host) => {
    const here = containers.filter((each) => each.host === host);
    const pids = await pidsOf(
      host,
      here.map(({ Id }) => Id),
    );
    const lines = pids.map(
      (pid, i) =>
        `for a in ${addresses.join(' ')}; do nsenter -t ${pid} --net busybox ping -c1 -W1 $a >/dev/null || echo ${host.name} ${addressOf(here[i] as PlacedContainer)} $a; done & `,
    );
    return await on(host, `${lines.join('\n')}\nwait`);
  });
  return (await Promise.all(asked)).join('\n').split('\n').filter(Boolean);
}

/**
 * Cuts hosts off, scales a service up by as many tasks as it has meanwhile, and plugs them in again.
 *
 * @throws Error when two have one address
 * @returns  how long it took from then, in ms, until as many tasks ran as should, and each reached each
 */
export async function healedAfterScaleUp(bed: NetworkBed, service: string, cutOff: readonly Host[]): Promise<number> {
  const { cluster } = bed;
  const before = (await cluster.containers(service)).length;
  const others = bed.hosts.filter((host) => !cutOff.includes(host));
  const there = (await cluster.containers(service, others)).length;
  await Promise.all(cutOff.map((host) => host.cut()));
  await bed.scale(service, 2 * before);
  await until('the scale-up on the others', async () => (await cluster.containers(service, others)).length > there);
  await Promise.all(cutOff.map((host) => host.heal()));
  const healedAt = performance.now();
  for (;;) {
    const containers = await cluster.settled(service, 2 * before);
    const addresses = containers.map((each) => addressOf(each)).sort();
    if (new Set(addresses).size < addresses.length) throw new Error(`one address twice: ${addresses}`);
    const missing = await unreached(containers);
    const tookMs = performance.now() - healedAt;
    if (missing.length === 0) return tookMs;
    if (tookMs > 30_000) throw new Error(`not reached: ${missing.join('; ')}`);
  }
}
