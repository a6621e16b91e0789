import { isTerminal, rankOf, type ServiceSpec } from '@apiary/api/model';
import { invariant, SeededRng } from '@apiary/std';
import t from 'tap';
import { rebalanceService } from '../requests/index.js';
import type { NodeRecord, TaskRecord } from '../store/records.js';
import { constraintTest } from './constraint.js';
import { HollowCluster } from './hollow-cluster.test.js';
import { mayBeRebalanced } from './rebalance.js';

/**
 * Random services, updates, scalings and node failures, from one seed each. After every pass: one live task a slot
 * (two where the service starts first), no node beyond its resources or with a host port twice. Once the faults stop,
 * what runs is exactly what was asked, within a bounded time.
 */

const NANO_CPUS = 16e9;
const SHRUNK_NANO_CPUS = [3e9, 2e9];
/** c has a host port, d is global, the tasks of e are never restarted. */
const SERVICES = ['a', 'b', 'c', 'd', 'e'];
const IMAGES = ['app:1', 'app:2', 'app:3', 'crash', 'missing', 'once'];
const CALM_MS = 15 * 60_000;

class Simulation {
  readonly cluster: HollowCluster;
  readonly #rng: SeededRng;
  #nodes: string[] = [];
  #nodesMade = 0;
  /** What was reserved on each node when it was looked at last. */
  readonly #reserved = new Map<string, number>();

  constructor(seed: number) {
    this.#rng = new SeededRng(seed);
    this.cluster = new HollowCluster(seed);
    this.cluster.slowness = this.#rng.below(80);
    this.cluster.images.set('crash', { exits: { afterMs: this.#rng.below(10_000), code: 1 } });
    this.cluster.images.set('missing', { missing: true });
    this.cluster.images.set('once', { exits: { afterMs: 2_000, code: 0 } });
    this.cluster.check = () => this.#checkInvariants();
    for (let i = 0; i < 4; i++) this.#addNode();
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i++) {
      this.#disturb();
      this.cluster.run(this.#rng.below(4_000));
    }
    this.#calmDown();
    this.cluster.run(CALM_MS);
    this.#checkConverged();
  }

  #disturb(): void {
    const { cluster } = this;
    const id = this.#pick(SERVICES);
    const node = this.#pick(this.#nodes);
    const exists = cluster.store.service(id) !== undefined;
    const toService = [
      () => cluster.commit({ type: 'service-delete', id }),
      () => cluster.setImage(id, this.#pick(IMAGES)),
      () => cluster.setImage(id, this.#pick(IMAGES)),
      () => id !== 'd' && cluster.scale(id, this.#rng.below(8)),
      () => this.#rollBack(id),
      () => this.#rebalance(id),
      () =>
        ['a', 'b'].includes(id) &&
        this.#constrain(id, this.#pick([[], [`node.id!=${node}`], ['node.labels.side!=left']])),
    ];
    const toNodes = [
      () => cluster.unlink(node),
      () => cluster.link(node),
      () => cluster.link(node),
      () => cluster.setNode(node, { Availability: this.#pick(['active', 'active', 'pause', 'drain']) }),
      () => this.#replaceNode(node),
      () => cluster.resize(node, { NanoCPUs: this.#pick([NANO_CPUS, ...SHRUNK_NANO_CPUS]) }),
      () => cluster.setNode(node, { Labels: { side: this.#pick(['left', 'right']) } }),
      () => cluster.exit(this.#pick(['', ...cluster.containersRunning()]), this.#rng.below(2)),
      () => cluster.forget(),
    ];
    this.#pick([...(exists ? toService : [() => this.#createService(id)]), ...toNodes])();
  }

  #createService(id: string): void {
    // With a host port on every node there is nowhere to start first.
    const order = id === 'c' ? 'stop-first' : this.#pick(['stop-first', 'start-first']);
    const action = this.#pick(['pause', 'continue', 'rollback']);
    const update = {
      Parallelism: this.#rng.below(3),
      Order: order,
      FailureAction: action,
      Delay: this.#rng.below(3) * 1e9,
    };
    const image = this.#pick(IMAGES);
    const Resources = { Reservations: { NanoCPUs: 1e9 } };
    const never = id === 'e' ? { RestartPolicy: { Condition: 'none' as const } } : {};
    this.cluster.createService(id, {
      image,
      ...(id === 'd' ? { Mode: { Global: {} } } : { replicas: this.#rng.below(6) }),
      ...(id === 'c' && { EndpointSpec: { Ports: [{ PublishMode: 'host', PublishedPort: 80, TargetPort: 80 }] } }),
      ...(id !== 'c' && { TaskTemplate: { ContainerSpec: { Image: image }, Resources, ...never } }),
      UpdateConfig: update,
      RollbackConfig: { ...update, FailureAction: this.#pick(['pause', 'continue']) },
    });
  }

  /** Without an update of its own: the pass finds out whether it takes one. */
  #constrain(id: string, Constraints: string[]): void {
    const { spec } = this.cluster.service(id);
    const TaskTemplate = { ...spec.TaskTemplate, Placement: { Constraints } };
    const changed = { ...spec, TaskTemplate };
    this.cluster.commit({ type: 'service-spec', id, spec: changed, previous: 'keep-as-previous' });
  }

  #rebalance(id: string): void {
    const { store } = this.cluster;
    if (!mayBeRebalanced({ view: store }, this.cluster.service(id))) return;
    this.cluster.commit(...rebalanceService(store, { id, most: 1 + this.#rng.below(2) }).changes);
  }

  #rollBack(id: string): void {
    const { previous } = this.cluster.service(id);
    if (previous === undefined) return;
    const update = { state: 'rollback_started' as const, startedAtMs: this.cluster.nowMs, message: '' };
    this.cluster.commit({ type: 'service-spec', id, spec: previous.spec, previous: 'drop', update });
  }

  #addNode(): void {
    const id = `h${++this.#nodesMade}`;
    this.cluster.addNode(id, { NanoCPUs: NANO_CPUS });
    this.#nodes.push(id);
  }

  #replaceNode(id: string): void {
    this.cluster.deleteNode(id);
    this.#nodes = this.#nodes.filter((other) => other !== id);
    this.#addNode();
  }

  /** No more faults, and images that work: what is asked from here on can be had. */
  #calmDown(): void {
    this.cluster.images.clear();
    for (const node of this.#nodes) {
      this.cluster.link(node);
      this.cluster.setNode(node, { Availability: 'active', Labels: {} });
      this.cluster.resize(node, { NanoCPUs: NANO_CPUS });
    }
  }

  #checkInvariants(): void {
    const { store } = this.cluster;
    for (const node of store.nodes()) {
      const held = store.tasksOfNode(node.id).filter((task) => !isTerminal(task.status.state) && isAssigned(task));
      const specs = held.map((task) => store.spec(task.serviceId, task.specVersion));
      const cpus = specs.map((spec) => spec.template.Resources?.Reservations?.NanoCPUs ?? 0).reduce((a, b) => a + b, 0);
      // A node that has shrunk has too much until what was there before has ended; nothing more comes.
      const most = Math.max(node.description?.Resources.NanoCPUs ?? 0, this.#reserved.get(node.id) ?? 0);
      invariant(cpus <= most, `node ${node.id} has ${cpus} nano-CPUs reserved`);
      this.#reserved.set(node.id, cpus);
      this.#checkMisfits(node);
      const published = specs.filter((spec) => (spec.endpoint?.Ports?.length ?? 0) > 0).length;
      invariant(published <= 1, `a host port is in use ${published} times on node ${node.id}`);
    }
    for (const task of store.tasks().filter(isLive)) {
      const node = task.nodeId === undefined ? undefined : store.node(task.nodeId);
      const lost = task.nodeId !== undefined && (node === undefined || node.status.state === 'down');
      invariant(!lost, `task ${task.id} is counted on, though node ${task.nodeId} is lost`);
    }
    for (const service of store.services()) {
      // A paused start-first update leaves both where they are; so does one whose order was another.
      const most = service.spec.UpdateConfig?.Order === 'start-first' ? 2 : 1;
      const bySlot = new Map<string | number, number>();
      for (const task of store.tasksOfService(service.id).filter(isLive)) {
        const slot = service.spec.Mode?.Global ? (task.nodeId ?? '') : task.slot;
        const live = (bySlot.get(slot) ?? 0) + 1;
        bySlot.set(slot, live);
        invariant(live <= most, `slot ${slot} of ${service.id} has ${live} live tasks: ${this.describe()}`);
      }
    }
  }

  /** On a node that has no room for all, nothing is left but what waits for its successor elsewhere to run. */
  #checkMisfits(node: NodeRecord): void {
    const { store } = this.cluster;
    if (node.spec.Availability !== 'active') return;
    const live = store.tasksOfNode(node.id).filter((task) => isLive(task) && isAssigned(task));
    const reserved = live.map(
      (task) => store.spec(task.serviceId, task.specVersion).template.Resources?.Reservations?.NanoCPUs ?? 0,
    );
    const isTooMuch = reserved.reduce((a, b) => a + b, 0) > (node.description?.Resources.NanoCPUs ?? 0);
    const isAboutToBeReplaced = ({ id, serviceId, slot }: TaskRecord): boolean =>
      serviceId !== 'd' &&
      this.cluster.tasks(serviceId).some((each) => each.slot === slot && each.id !== id && isLive(each));
    invariant(
      !isTooMuch || live.some(isAboutToBeReplaced),
      `node ${node.id} is to run more than it can: ${this.describe()}`,
    );
  }

  #checkConverged(): void {
    const { cluster } = this;
    const expected: string[] = [];
    for (const service of cluster.store.services()) {
      const state = service.update?.state;
      const paused = state === 'paused' || state === 'rollback_paused';
      const live = cluster.tasks(service.id).filter(isLive);
      const replicas = service.spec.Mode?.Replicated?.Replicas ?? this.#nodes.length;
      const wanted = service.id === 'c' ? Math.min(replicas, this.#nodes.length) : replicas;
      // With more replicas than places, an update may wait for one.
      const moving = state === 'updating' || state === 'rollback_started';
      invariant(!moving || wanted < replicas, `update of ${service.id} does not end: ${this.describe()}`);
      const running = live.filter((task) => task.status.state === 'running');
      const isEnough = service.id === 'e' ? running.length <= wanted : running.length === wanted;
      invariant(isEnough, `${running.length} of ${wanted} of ${service.id}: ${this.describe()}`);
      const stale = running.filter((task) => this.#isStale(task, service.spec));
      invariant(
        // With start-first, what runs is left where its successor failed for good.
        paused || wanted < replicas || stale.length === 0 || service.id === 'e',
        `${service.id} runs an old version: ${this.describe()}`,
      );
      expected.push(...running.map((task) => task.id));
    }
    const actual = cluster.containersRunning();
    invariant(`${actual}` === `${expected.sort()}`, `containers that nobody asked for: ${this.describe()}`);
    const limbo = cluster.store.tasks().filter((task) => !isLive(task) && !isTerminal(task.status.state));
    invariant(limbo.length === 0, `tasks in limbo: ${JSON.stringify(limbo)}`);
    const orphans = cluster.store.tasks().filter((task) => cluster.store.service(task.serviceId) === undefined);
    invariant(orphans.length === 0, `tasks of no service: ${JSON.stringify(orphans)}`);
  }

  /** Whether the task has another image than the service, or is where its constraints forbid. */
  #isStale(task: TaskRecord, { TaskTemplate }: ServiceSpec): boolean {
    const { template } = this.cluster.store.spec(task.serviceId, task.specVersion);
    const node = this.cluster.store.node(task.nodeId ?? '');
    const tests = (TaskTemplate.Placement?.Constraints ?? []).map(constraintTest);
    const mayStay = node !== undefined && tests.every((test) => test(node));
    return template.ContainerSpec?.Image !== TaskTemplate.ContainerSpec?.Image || !mayStay;
  }

  describe(): string {
    const services = this.cluster.store.services().map(({ id, specVersion, update }) => ({ id, specVersion, update }));
    const tasks = this.cluster.store
      .tasks()
      .map((task) =>
        [
          task.serviceId,
          task.slot,
          task.nodeId,
          `v${task.specVersion}`,
          task.desiredState,
          task.status.state,
          task.status.err,
          task.restarts.attempts,
        ].join(' '),
      );
    return JSON.stringify({ services, tasks }, undefined, 1);
  }

  #pick<T>(from: readonly T[]): T {
    const picked = from[this.#rng.below(from.length)];
    invariant(picked !== undefined, 'nothing to pick from');
    return picked;
  }
}

function isAssigned(task: TaskRecord): boolean {
  return rankOf(task.status.state) >= rankOf('assigned');
}

function isLive(task: TaskRecord): boolean {
  return rankOf(task.desiredState) <= rankOf('running') && !isTerminal(task.status.state);
}

const [first = 1, last = 40] = (process.env['PLAN_SIM_SEEDS'] ?? '').split('-').filter(Boolean).map(Number);

// As many seeds as are asked for, however long that takes.
t.setTimeout(0);
t.test('whatever happens, no slot runs twice, no node is overfull, and it ends as asked', { timeout: 0 }, async (t) => {
  for (let seed = first; seed <= last; seed++) {
    try {
      new Simulation(seed).run(40);
    } catch (error) {
      t.fail(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
      return;
    }
  }
  t.pass(`seeds ${first} to ${last}`);
});
