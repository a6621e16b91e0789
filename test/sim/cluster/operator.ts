import { isTerminal, type ServiceSpec } from '@apiary/api/model';
import {
  createService,
  type NodeRecord,
  removeService,
  type TaskRecord,
  type Touched,
  updateNode,
  updateService,
  type View,
} from '@apiary/manager/core';
import type { ImageBehaviour } from './hollow-engine.js';
import { NetworkOperator } from './network-operator.js';
import type { RequestOutcome, SimulatedCluster } from './simulated-cluster.js';

/** What the images of the simulation do; those that are not named run until they are stopped. */
export const IMAGES: ReadonlyMap<string, ImageBehaviour> = new Map<string, ImageBehaviour>([
  ['slow:1', { pullMs: 20_000 }],
  ['missing:1', { isMissing: true }],
  ['crash:1', { exits: { afterMs: 700, code: 1 } }],
  ['frail:1', { exits: { afterMs: 9_000, code: 1 } }],
  ['done:1', { exits: { afterMs: 1_500, code: 0 } }],
  ['health:1', { health: { afterMs: 2_000, isHealthy: true } }],
  ['sick:1', { health: { afterMs: 3_000, isHealthy: false } }],
]);

/** What some services ask of their nodes. */
const SIDE = 'node.labels.side!=left';

/** Whether a task may not be on a node on the left. */
export function isConfined(view: View, { serviceId, specVersion }: TaskRecord): boolean {
  if (view.service(serviceId) === undefined) return false;
  return view.spec(serviceId, specVersion).template.Placement?.Constraints?.includes(SIDE) === true;
}

const NAMES = ['web', 'api', 'db', 'cache', 'agent', 'batch', 'sweep'];
const GOOD = ['app:1', 'app:2', 'app:3', 'health:1', 'slow:1'];
const BAD = ['missing:1', 'crash:1', 'frail:1', 'sick:1'];
/** What is asked for once the faults are over. */
const LAST_IMAGE = 'app:9';

type Order = 'start-first' | 'stop-first';

/** Whoever uses the cluster: asks for services, changes them, and sees to its nodes. */
export class Operator {
  readonly counts = new Map<string, number>();
  readonly #cluster: SimulatedCluster;
  readonly #networks: NetworkOperator;
  #isOver = false;

  constructor(cluster: SimulatedCluster) {
    this.#cluster = cluster;
    this.#networks = new NetworkOperator(cluster);
  }

  /** Makes a network to begin with. */
  begin(): void {
    this.#cluster.oracle.onApplied = (view, touched) => this.#beInTheWay(view, touched);
    this.#networks.create('front');
    for (let i = 0; i < 3; i++) this.act();
  }

  /** Asks for something, anything. */
  act(): void {
    const { chance } = this.#cluster;
    const name = chance.pick(NAMES) ?? '';
    const service = this.#cluster.service(name);
    if (service === undefined) this.#create(name);
    else this.#actOn(name);
  }

  /** Asks for nothing more of its own accord; what it has set out to do may still happen for some seconds. */
  end(): void {
    this.#isOver = true;
  }

  /** Asks for something else at the very moment at which an update is found to be over. */
  #beInTheWay(view: View, touched: Touched): void {
    const { chance, queue } = this.#cluster;
    if (this.#isOver) return;
    for (const id of touched.taskServices) {
      const service = view.service(id);
      const { Name, UpdateConfig } = service?.spec ?? {};
      if (service?.update?.state !== 'updating' || Name === undefined) continue;
      const tasks = view.tasksOfService(id).filter(({ status }) => !isTerminal(status.state));
      const isLast = tasks.every(
        ({ status, specVersion }) => status.state === 'running' && specVersion === service.specVersion,
      );
      if (!isLast || !chance.percent(30)) continue;
      // What was reported of the last task was committed some milliseconds ago.
      const afterMs = (UpdateConfig?.Monitor ?? 5e9) / 1e6 - chance.between(2, 8);
      queue.after(afterMs, () =>
        this.#cluster.guard(() => this.#change(Name, (each) => withImage(each, this.#image(each)))),
      );
    }
  }

  #actOn(name: string): void {
    const { chance } = this.#cluster;
    const acts: (readonly [string, number, () => void])[] = [
      ['update', 40, () => this.#change(name, (spec) => withImage(spec, this.#image(spec)))],
      ['scale', 20, () => this.#change(name, (spec) => this.#scaled(spec))],
      ['roll back', 8, () => this.#change(name, (spec) => spec, true)],
      ['force', 5, () => this.#change(name, (spec) => this.#forced(spec))],
      ['connect', 8, () => this.#change(name, (spec) => this.#connected(spec))],
      ['network', 8, () => this.#networks.act()],
      ['label', 5, () => this.#setLabels()],
      ['constrain', 5, () => this.#change(name, (spec) => this.#constrained(spec))],
      ['remove', 6, () => this.#remove(name)],
      ['availability', 12, () => this.#setAvailability()],
      ['role', 4, () => this.#setRole()],
    ];
    let draw = chance.rng.below(acts.reduce((sum, [, weight]) => sum + weight, 0));
    for (const [what, weight, act] of acts) {
      draw -= weight;
      if (draw >= 0) continue;
      this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
      act();
      return;
    }
  }

  /** Asks for what can be had: images that work, and room for all that is to run. Again until all of it is acknowledged. */
  calm(heard: () => void): void {
    const steps: ((next: () => void) => void)[] = [];
    for (const node of this.#cluster.view?.nodes() ?? []) {
      steps.push((next) =>
        this.#changeNode(
          node.id,
          (spec) => ({ ...spec, Availability: 'active' }),
          ({ type }) => {
            this.#cluster.tell(`active ${this.#cluster.hostOf(node.id)?.name}: ${type}`);
            next();
          },
        ),
      );
    }
    for (const { spec } of this.#cluster.view?.services() ?? []) {
      steps.push((next) => this.#change(spec.Name ?? '', (each) => this.#calmed(each), false, next));
    }
    const run = (): void => {
      const step = steps.shift();
      if (step === undefined) heard();
      else step(run);
    };
    run();
  }

  #create(name: string): void {
    const { chance } = this.#cluster;
    const order: Order = name === 'db' || chance.percent(50) ? 'stop-first' : 'start-first';
    const config = (): NonNullable<ServiceSpec['UpdateConfig']> => ({
      Parallelism: chance.rng.below(4),
      Order: order,
      Delay: chance.rng.below(3) * 1e9,
      Monitor: (1 + chance.rng.below(6)) * 1e9,
      FailureAction: chance.pick(['pause', 'continue']) ?? 'pause',
      MaxFailureRatio: chance.pick([0, 0, 0.3]) ?? 0,
    });
    const isJob = name === 'batch' || name === 'sweep';
    const spec: ServiceSpec = {
      Name: name,
      TaskTemplate: {
        ContainerSpec: { Image: isJob ? 'done:1' : (chance.pick(GOOD) ?? ''), StopGracePeriod: 2e9 },
        Resources: { Reservations: { NanoCPUs: (1 + chance.rng.below(2)) * 1e9, MemoryBytes: 5e8 } },
        Networks: this.#networks.choose(),
        RestartPolicy: {
          Condition: isJob ? 'on-failure' : 'any',
          Delay: chance.pick([0, 1e9, 5e9]) ?? 0,
        },
      },
      Mode: this.#mode(name),
      ...(!isJob && {
        UpdateConfig: { ...config(), FailureAction: chance.pick(['pause', 'continue', 'rollback']) ?? 'pause' },
        RollbackConfig: config(),
      }),
      // With a host port on each node there is nowhere to start first.
      EndpointSpec: this.#networks.endpoint(name === 'db' ? 5432 : undefined),
    };
    this.counts.set('create', (this.counts.get('create') ?? 0) + 1);
    this.#cluster.request(
      (view, { rng }) => createService(view, spec, rng),
      ({ type }) =>
        this.#cluster.tell(`create ${name} (${order}, parallelism ${spec.UpdateConfig?.Parallelism}): ${type}`),
    );
  }

  #mode(name: string): NonNullable<ServiceSpec['Mode']> {
    const { rng } = this.#cluster.chance;
    if (name === 'agent') return { Global: {} };
    if (name === 'sweep') return { GlobalJob: {} };
    if (name === 'batch')
      return { ReplicatedJob: { MaxConcurrent: 1 + rng.below(3), TotalCompletions: 1 + rng.below(8) } };
    return { Replicated: { Replicas: rng.below(6) } };
  }

  #change(
    name: string,
    change: (spec: ServiceSpec) => ServiceSpec,
    rollback = false,
    heard: () => void = () => {},
  ): void {
    this.#cluster.request(
      (view, { nowMs }) => {
        const service = view.serviceByName(name);
        if (service === undefined) return { guards: [], changes: [], result: 'nothing' };
        const { id, meta, spec, previous } = service;
        if (rollback && previous === undefined) return { guards: [], changes: [], result: 'nothing' };
        return updateService(view, { id, version: meta.version, spec: change(spec), rollback }, nowMs);
      },
      (outcome) => {
        const spec = this.#cluster.service(name)?.spec;
        const now = `${spec?.TaskTemplate.ContainerSpec?.Image} x${spec?.Mode?.Replicated?.Replicas ?? '-'}`;
        this.#cluster.tell(`${rollback ? 'roll back' : 'update'} ${name} to ${now}: ${outcome.type}`);
        // A network may be gone of which the service was when it was looked at, or by the spec to go back to.
        if (outcome.type === 'refused' && outcome.error.code !== 'not-found') throw outcome.error;
        heard();
      },
    );
  }

  #remove(name: string): void {
    const id = this.#cluster.service(name)?.id;
    if (id === undefined) return;
    this.#cluster.request(
      (view) => (view.service(id) === undefined ? { guards: [], changes: [], result: id } : removeService(view, id)),
      ({ type }) => this.#cluster.tell(`remove ${name}: ${type}`),
    );
  }

  #image(spec: ServiceSpec): string {
    const { chance } = this.#cluster;
    if (spec.Mode?.ReplicatedJob !== undefined || spec.Mode?.GlobalJob !== undefined) return 'done:1';
    return chance.pick(chance.percent(75) ? GOOD : BAD) ?? '';
  }

  #scaled(spec: ServiceSpec): ServiceSpec {
    if (spec.Mode?.Replicated === undefined) return spec;
    return { ...spec, Mode: { Replicated: { Replicas: this.#cluster.chance.rng.below(9) } } };
  }

  #forced(spec: ServiceSpec): ServiceSpec {
    const ForceUpdate = (spec.TaskTemplate.ForceUpdate ?? 0) + 1;
    return { ...spec, TaskTemplate: { ...spec.TaskTemplate, ForceUpdate } };
  }

  #constrained(spec: ServiceSpec): ServiceSpec {
    const node = this.#cluster.chance.pick(this.#cluster.view?.nodes() ?? []);
    const { chance } = this.#cluster;
    const Constraints = chance.pick([[], [], [`node.id!=${node?.id}`], [SIDE]]) ?? [];
    return { ...spec, TaskTemplate: { ...spec.TaskTemplate, Placement: { Constraints } } };
  }

  #connected(spec: ServiceSpec): ServiceSpec {
    const { Ports: hostPorts } = spec.EndpointSpec ?? {};
    const hostPort = hostPorts?.find(({ PublishMode }) => PublishMode === 'host')?.PublishedPort;
    const EndpointSpec = this.#networks.endpoint(hostPort);
    return { ...spec, EndpointSpec, TaskTemplate: { ...spec.TaskTemplate, Networks: this.#networks.choose() } };
  }

  /** Often of a node that runs what may not be on the left: there it matters. */
  #setLabels(): void {
    const { chance, view } = this.#cluster;
    const nodes = view?.nodes() ?? [];
    const choosy = nodes.filter(({ id }) => view?.tasksOfNode(id).some((task) => isConfined(view, task)));
    const node = chance.pick(choosy.length > 0 && chance.percent(50) ? choosy : nodes);
    const side = chance.pick(['left', 'right']) ?? '';
    if (node === undefined) return;
    this.#cluster.tell(`${this.#cluster.hostOf(node.id)?.name} is on the ${side}`);
    this.#changeNode(node.id, (spec) => ({ ...spec, Labels: { side } }));
  }

  #setAvailability(): void {
    const { chance, view } = this.#cluster;
    const node = chance.pick(view?.nodes() ?? []);
    const availability = chance.pick(['active', 'active', 'pause', 'drain'] as const) ?? 'active';
    if (node === undefined) return;
    this.#cluster.tell(`${availability} ${this.#cluster.hostOf(node.id)?.name}`);
    this.#changeNode(node.id, (spec) => ({ ...spec, Availability: availability }));
  }

  /** Promotes a worker or demotes a manager, often both at once: three are wanted in the long run. */
  #setRole(): void {
    const { chance, view } = this.#cluster;
    const nodes = view?.nodes() ?? [];
    const managers = nodes.filter(({ spec }) => spec.Role === 'manager');
    const isPromotion = managers.length < 3 || (managers.length < 5 && chance.percent(50));
    const node = chance.pick(isPromotion ? nodes.filter((each) => !managers.includes(each)) : managers);
    if (node === undefined) return;
    const role = isPromotion ? 'manager' : 'worker';
    this.#cluster.tell(`${this.#cluster.hostOf(node.id)?.name} is to be a ${role}`);
    this.#changeNode(node.id, (spec) => ({ ...spec, Role: role }));
  }

  /** With an image that works, wherever it may, on networks that have room, and few enough that there is room for all. */
  #calmed(spec: ServiceSpec): ServiceSpec {
    const { Mode } = spec;
    const isJob = Mode?.ReplicatedJob !== undefined || Mode?.GlobalJob !== undefined;
    const replicas = Math.min(3, Mode?.Replicated?.Replicas ?? 0);
    const calm = withImage(spec, isJob ? 'done:1' : LAST_IMAGE);
    const Networks = this.#networks.roomy(spec.TaskTemplate.Networks);
    return {
      ...calm,
      TaskTemplate: { ...calm.TaskTemplate, Networks, Placement: {}, Resources: { Reservations: { NanoCPUs: 1e8 } } },
      ...(Mode?.Replicated !== undefined && { Mode: { Replicated: { Replicas: replicas } } }),
    };
  }

  #changeNode(
    id: string,
    change: (spec: NodeRecord['spec']) => NodeRecord['spec'],
    heard: (outcome: RequestOutcome<string>) => void = () => {},
  ): void {
    this.#cluster.request((view) => {
      const node = view.node(id);
      if (node === undefined) return { guards: [], changes: [], result: id };
      return updateNode(view, { id, version: node.meta.version, spec: change(node.spec) });
    }, heard);
  }
}

function withImage(spec: ServiceSpec, Image: string): ServiceSpec {
  const { TaskTemplate } = spec;
  return { ...spec, TaskTemplate: { ...TaskTemplate, ContainerSpec: { ...TaskTemplate.ContainerSpec, Image } } };
}
