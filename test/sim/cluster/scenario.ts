import type { ServiceSpec } from '@apiary/api/model';
import {
  createNetwork,
  createService,
  type NodeRecord,
  removeNetwork,
  removeService,
  type TaskRecord,
  updateNode,
  updateService,
} from '@apiary/manager/core';
import { ApiaryError, SeededRng } from '@apiary/std';
import type { Test } from 'tap';
import { Story } from '../raft/story.js';
import { lackOf } from './convergence.js';
import type { Host } from './host.js';
import { IMAGES } from './operator.js';
import { type RequestOutcome, SimulatedCluster } from './simulated-cluster.js';

/** A cluster in which nothing happens but what a scenario brings about. */
export class Scenario {
  readonly cluster: SimulatedCluster;

  constructor(hosts: number, managers: number) {
    const settings = { hosts, managers, images: IMAGES, skewMs: 1_000 };
    this.cluster = new SimulatedCluster(settings, new SeededRng(1), new Story(400));
  }

  static async begin(hosts: number, managers: number): Promise<Scenario> {
    const scenario = new Scenario(hosts, managers);
    await scenario.cluster.begin();
    return scenario;
  }

  get workers(): Host[] {
    return this.cluster.hosts.filter(({ manager }) => manager === undefined);
  }

  get leaderHost(): Host {
    const { hosts, leader } = this.cluster;
    return hosts.find(({ manager }) => manager !== undefined && manager === leader) ?? raise('nobody leads');
  }

  /** @param more  of the spec; what it says of tasks is beside what they are made from by default */
  async create(Name: string, replicas: number, nanoCpus: number, more: Partial<ServiceSpec> = {}): Promise<void> {
    const spec: ServiceSpec = {
      Name,
      Mode: { Replicated: { Replicas: replicas } },
      ...more,
      TaskTemplate: {
        ContainerSpec: { Image: 'app:1' },
        Resources: { Reservations: { NanoCPUs: nanoCpus } },
        ...more.TaskTemplate,
      },
    };
    await this.ask((heard) => this.cluster.request((view, { rng }) => createService(view, spec, rng), heard));
  }

  async change(name: string, change: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
    await this.ask((heard) =>
      this.cluster.request((view, { nowMs }) => {
        const { id, meta, spec } = view.serviceByName(name) ?? raise(`no service ${name}`);
        return updateService(view, { id, version: meta.version, spec: change(spec), rollback: false }, nowMs);
      }, heard),
    );
  }

  async remove(name: string): Promise<void> {
    const id = this.cluster.service(name)?.id ?? raise(`no service ${name}`);
    await this.ask((heard) => this.cluster.request((view) => removeService(view, id), heard));
  }

  async createNetwork(Name: string, Subnet?: string): Promise<void> {
    const spec = { Name, Driver: 'overlay', ...(Subnet !== undefined && { IPAM: { Config: [{ Subnet }] } }) };
    await this.ask((heard) => this.cluster.request((view, { rng }) => createNetwork(view, spec, rng), heard));
  }

  /** Asks again and again, as long as tasks are still leaving it. */
  async removeNetwork(name: string): Promise<void> {
    const id = this.networkId(name);
    for (let tries = 0; tries < 50; tries++) {
      const outcome = await this.outcomeOf<string>((heard) =>
        this.cluster.request((view) => removeNetwork(view, id), heard),
      );
      if (outcome.type === 'done') return;
      await this.cluster.run(this.cluster.nowMs + 200);
    }
    raise(`network ${name} stays in use`);
  }

  networkId(name: string): string {
    return this.cluster.view?.networks().find(({ spec }) => spec.Name === name)?.id ?? raise(`no network ${name}`);
  }

  async changeNode(host: Host, change: Partial<NodeRecord['spec']>): Promise<void> {
    const id = host.nodeId ?? '';
    await this.ask((heard) =>
      this.cluster.request((view) => {
        const { meta, spec } = view.node(id) ?? raise('the node is gone');
        return updateNode(view, { id, version: meta.version, spec: { ...spec, ...change } });
      }, heard),
    );
  }

  cutOff(host: Host): void {
    for (const { name } of this.cluster.hosts) this.cluster.network.cut(host.name, name);
  }

  async ask<R>(request: (heard: (outcome: RequestOutcome<R>) => void) => void): Promise<void> {
    const outcome = await this.outcomeOf(request);
    if (outcome.type === 'refused') throw outcome.error;
    if (outcome.type !== 'done') throw new Error(`the request is ${outcome.type}`);
  }

  async outcomeOf<R>(request: (heard: (outcome: RequestOutcome<R>) => void) => void): Promise<RequestOutcome<R>> {
    const heard: RequestOutcome<R>[] = [];
    request((outcome) => heard.push(outcome));
    await this.until(() => heard.length > 0);
    return heard[0] ?? raise('no answer');
  }

  /** @returns how long it took */
  async until(holds: () => boolean, withinMs = 60_000): Promise<number> {
    const startMs = this.cluster.nowMs;
    await this.cluster.run(startMs + withinMs, holds);
    if (!holds()) throw new Error(`not so within ${withinMs} ms: ${holds}\n${this.cluster.story.join('\n')}`);
    return this.cluster.nowMs - startMs;
  }

  /** All is as it was asked for. */
  async settled(t: Test): Promise<void> {
    await this.until(() => lackOf(this.cluster) === undefined, 120_000);
    t.equal(lackOf(this.cluster), undefined);
  }

  tasks(name: string): TaskRecord[] {
    const { view } = this.cluster;
    const id = view?.serviceByName(name)?.id ?? '';
    return view?.tasksOfService(id) ?? [];
  }

  running(name: string): TaskRecord[] {
    return this.tasks(name).filter(({ status }) => status.state === 'running');
  }

  /** Tasks that run and are to go on running. */
  serving(name: string): TaskRecord[] {
    return this.running(name).filter(({ desiredState }) => desiredState === 'running');
  }
}

export function raise(words: string): never {
  throw new ApiaryError('not-found', words);
}
