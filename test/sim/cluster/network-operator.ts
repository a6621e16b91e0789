import type { ServiceSpec } from '@apiary/api/model';
import { createNetwork, removeNetwork } from '@apiary/manager/core';
import type { SimulatedCluster } from './simulated-cluster.js';

/** By name, the subnet: one that the cluster chooses, one that is large enough for all (and is of IPv6 too), and one that is not. */
const SUBNETS = { front: undefined, back: '10.200.0.0/24', tiny: '10.201.0.0/29' } as const;
const NAMES = Object.keys(SUBNETS) as (keyof typeof SUBNETS)[];

type Attachments = NonNullable<ServiceSpec['TaskTemplate']['Networks']>;

/** Whoever makes networks and takes them away, and puts services on them. */
export class NetworkOperator {
  readonly #cluster: SimulatedCluster;

  constructor(cluster: SimulatedCluster) {
    this.#cluster = cluster;
  }

  /** Makes a network that is not there, or takes one away: that is refused while it is in use. */
  act(): void {
    const { chance, view } = this.#cluster;
    const name = chance.pick(NAMES) ?? 'front';
    const network = view?.networks().find(({ spec }) => spec.Name === name);
    if (network === undefined) this.create(name);
    else this.#remove(name, network.id);
  }

  create(name: keyof typeof SUBNETS): void {
    const Subnet = SUBNETS[name];
    const ipam = Subnet !== undefined && { IPAM: { Config: [{ Subnet }] } };
    const spec = { Name: name, Driver: 'overlay', EnableIPv6: name === 'back', ...ipam };
    this.#cluster.request(
      (view, { rng }) => createNetwork(view, spec, rng),
      ({ type }) => this.#cluster.tell(`create network ${name}: ${type}`),
    );
  }

  /** Up to two of those that are there. */
  choose(): Attachments {
    const { chance, view } = this.#cluster;
    const networks = view?.networks().filter(({ kind }) => kind === 'overlay') ?? [];
    const names = networks.map(({ spec }) => spec.Name).filter(() => chance.percent(60));
    return names.slice(0, 2).map((Target) => ({ Target }));
  }

  /** What a service is published by, and what its name stands for. */
  endpoint(hostPort: number | undefined): NonNullable<ServiceSpec['EndpointSpec']> {
    const { chance } = this.#cluster;
    if (hostPort !== undefined) {
      const port = { Protocol: 'tcp', PublishMode: 'host', PublishedPort: hostPort, TargetPort: hostPort };
      return { Mode: chance.pick(['vip', 'dnsrr']) ?? 'vip', Ports: [port] };
    }
    if (chance.percent(30)) return { Mode: 'dnsrr' };
    if (chance.percent(40))
      return { Mode: 'vip', Ports: [{ Protocol: 'tcp', PublishMode: 'ingress', TargetPort: 80 }] };
    return { Mode: 'vip' };
  }

  /** The networks of a service that have room for all that is to run. */
  roomy(attachments: Attachments = []): Attachments {
    const { view } = this.#cluster;
    return attachments.filter(({ Target = '' }) => {
      const network = view?.network(Target);
      return network !== undefined && network.spec.Name !== 'tiny';
    });
  }

  #remove(name: string, id: string): void {
    this.#cluster.request(
      (view) => removeNetwork(view, id),
      ({ type }) => this.#cluster.tell(`remove network ${name}: ${type}`),
    );
  }
}
