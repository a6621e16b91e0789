import { ApiaryError } from '@apiary/std';
import type { ContainerConfig, Engine, EngineContainer, EngineEvent, HostDescription } from '@apiary/worker/io';
import type { Chance } from '../raft/chance.js';
import type { EventQueue } from '../raft/event-queue.js';
import type { SimulatedProcess } from './simulated-process.js';

/** How containers of an image behave: an image that is not in the list runs until it is stopped. */
export interface ImageBehaviour {
  /** Its process ends by itself. */
  exits?: { afterMs: number; code: number };
  /** There is no such image. */
  isMissing?: boolean;
  pullMs?: number;
  /** It has a health check, and becomes healthy, or does not, so long after its start. */
  health?: { afterMs: number; isHealthy: boolean };
}

/** Who watches what really runs. */
export interface EngineWatcher {
  started(engine: HollowEngine, container: HollowContainer): void;
  /** The engine was told to stop it. */
  stopping(engine: HollowEngine, container: HollowContainer): void;
  /** @param cause  by itself, or because the engine was told to */
  ended(engine: HollowEngine, container: HollowContainer, cause: 'itself' | 'stopped' | 'crash'): void;
}

export type HollowContainer = EngineContainer & { name: string; image: string };

/** How bad the engine is for now. */
export interface Mood {
  /** Of each call, in percent. */
  failPercent: number;
  slowMs: number;
}

/** What a machine has to begin with. */
export const FULL_NANO_CPUS = 8e9;

const FINE: Mood = { failPercent: 0, slowMs: 0 };

/** An engine without containers: it says what a real one would, in virtual time, and outlives whoever talks to it. */
export class HollowEngine {
  readonly host: string;
  readonly containers = new Map<string, HollowContainer>();
  resources = { NanoCPUs: FULL_NANO_CPUS, MemoryBytes: 8e9 };
  /** The most that it ever had: what came then may still be there. */
  most = this.resources;
  mood = FINE;
  readonly #queue: EventQueue;
  readonly #chance: Chance;
  readonly #images: ReadonlyMap<string, ImageBehaviour>;
  readonly #watcher: EngineWatcher;
  readonly #listeners = new Set<{
    process: SimulatedProcess;
    onEvent(event: EngineEvent): void;
    onLost(why: string): void;
  }>();
  #isUp = true;
  #count = 0;

  constructor(
    host: string,
    world: { queue: EventQueue; chance: Chance; images: ReadonlyMap<string, ImageBehaviour>; watcher: EngineWatcher },
  ) {
    this.host = host;
    this.#queue = world.queue;
    this.#chance = world.chance;
    this.#images = world.images;
    this.#watcher = world.watcher;
  }

  /** Its machine is another than it was. */
  resize(NanoCPUs: number): void {
    this.resources = { ...this.resources, NanoCPUs };
    if (NanoCPUs > this.most.NanoCPUs) this.most = this.resources;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  get running(): HollowContainer[] {
    return [...this.containers.values()].filter(({ state }) => state === 'running');
  }

  /** The port for one process: once that is dead no answer reaches it, but what it asked for still happens. */
  portFor(process: SimulatedProcess): Engine {
    const call = <T>(work: () => T, mayFail = false): Promise<T> => this.#call(process, work, mayFail);
    return {
      containerRoot: { uid: 0, gid: 0 },
      ping: () => call(() => {}),
      describe: () => call(() => this.#description()),
      adopt: () => call(() => [...this.containers.values()].map((container) => ({ ...container }))),
      pull: (image, signal) => this.#pull(process, image, signal),
      create: (config) => call(() => this.#create(config), true),
      start: (id) => call(() => this.#start(id), true),
      inspect: (id) => call(() => this.#copy(id)),
      stop: (id) => this.#stop(process, id),
      remove: (id) => call(() => this.#remove(id), true),
      logs: async function* () {},
      watch: (onEvent, onLost) =>
        call(() => {
          const listener = { process, onEvent, onLost };
          this.#listeners.add(listener);
          return { close: () => this.#listeners.delete(listener) };
        }),
    };
  }

  /** The process of a container ends by itself. */
  exit(id: string, exitCode: number, cause: 'itself' | 'stopped' | 'crash' = 'itself'): void {
    const container = this.containers.get(id);
    if (container?.state !== 'running') return;
    Object.assign(container, { state: 'exited', pid: 0, exitCode });
    delete container.health;
    this.#watcher.ended(this, container, cause);
    this.#tell(container, 'ended');
  }

  setHealth(id: string, health: 'healthy' | 'unhealthy'): void {
    const container = this.containers.get(id);
    if (container?.state !== 'running' || container.health === undefined) return;
    container.health = health;
    this.#tell(container, 'health');
  }

  /** @param isCrash  its containers go with it */
  goDown(isCrash: boolean): void {
    this.#isUp = false;
    for (const { process, onLost } of [...this.#listeners]) process.run(() => onLost('connection lost'));
    this.#listeners.clear();
    if (isCrash) for (const { id } of this.running) this.exit(id, 137, 'crash');
  }

  comeUp(): void {
    this.#isUp = true;
    this.mood = FINE;
  }

  recover(): void {
    this.mood = FINE;
  }

  #call<T>(process: SimulatedProcess, work: () => T, mayFail: boolean): Promise<T> {
    const tookMs = this.#chance.between(1, 60) + this.#chance.between(0, this.mood.slowMs);
    return new Promise((resolve, reject) => {
      const answer = (settle: () => void): void =>
        this.#queue.after(this.#chance.between(0, 5), () => process.run(settle));
      this.#queue.after(tookMs, () => {
        if (!this.#isUp) {
          answer(() => reject(new ApiaryError('unavailable', 'no answer from the engine')));
        } else if (mayFail && this.#chance.percent(this.mood.failPercent)) {
          answer(() => reject(new ApiaryError('internal', 'the engine has one of its days')));
        } else {
          try {
            const result = work();
            answer(() => resolve(result));
          } catch (error) {
            answer(() => reject(error));
          }
        }
      });
    });
  }

  #pull(process: SimulatedProcess, image: string, signal: AbortSignal): Promise<void> {
    const { isMissing = false, pullMs = 50 } = this.#images.get(image) ?? {};
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      const settle = (): void => {
        signal.removeEventListener('abort', onAbort);
        if (!this.#isUp) reject(new ApiaryError('unavailable', 'no answer from the engine'));
        else if (isMissing) reject(new ApiaryError('not-found', `No such image: ${image}`));
        else resolve();
      };
      const tookMs = this.#chance.between(0, pullMs) + this.#chance.between(0, this.mood.slowMs);
      this.#queue.after(tookMs, () => process.run(settle));
    });
  }

  #create({ name, taskId, body, gateway }: ContainerConfig): string {
    const earlier = [...this.containers.values()].find((container) => container.name === name);
    if (earlier !== undefined) return earlier.id;
    const id = `${this.host}-c${++this.#count}`;
    const labels = body['Labels'] as Record<string, string>;
    const nodeId = labels['com.docker.swarm.node.id'] ?? '';
    const image = String(body['Image']);
    const container: HollowContainer = {
      ...{ id, name, image, taskId, nodeId },
      ...{ state: 'created', pid: 0, exitCode: 0, oomKilled: false, error: '', ports: [] },
    };
    if (gateway !== undefined) {
      Object.assign(container, { gatewayAddress: `10.224.0.${this.#count % 256}`, networks: gateway.networks });
    }
    this.containers.set(id, container);
    this.#tell(container, 'created');
    return id;
  }

  #start(id: string): void {
    const container = this.containers.get(id);
    if (container === undefined) throw new ApiaryError('not-found', `No such container: ${id}`);
    if (container.state === 'running') return;
    const { exits, health } = this.#images.get(container.image) ?? {};
    Object.assign(container, { state: 'running', pid: 100 + this.#count });
    this.#watcher.started(this, container);
    this.#tell(container, 'started');
    if (exits !== undefined) this.#queue.after(exits.afterMs, () => this.exit(id, exits.code));
    if (health === undefined) return;
    container.health = 'starting';
    this.#queue.after(health.afterMs, () => this.setHealth(id, health.isHealthy ? 'healthy' : 'unhealthy'));
  }

  #stop(process: SimulatedProcess, id: string): Promise<void> {
    // It takes what its process takes to end, and the caller waits for that.
    const container = this.containers.get(id);
    if (container?.state === 'running') this.#watcher.stopping(this, container);
    const graceMs = this.#chance.percent(80) ? this.#chance.between(5, 200) : this.#chance.between(200, 8_000);
    return this.#call(process, () => {}, true).then(
      () =>
        new Promise((resolve) => {
          this.#queue.after(graceMs, () => {
            this.exit(id, 143, 'stopped');
            process.run(resolve);
          });
        }),
    );
  }

  #remove(id: string): void {
    const container = this.containers.get(id);
    if (container === undefined) return;
    if (container.state === 'running') throw new ApiaryError('failed-precondition', `container ${id} runs`);
    this.containers.delete(id);
    this.#tell(container, 'removed');
  }

  #copy(id: string): EngineContainer | undefined {
    const container = this.containers.get(id);
    return container && { ...container };
  }

  #description(): HostDescription {
    return {
      Hostname: this.host,
      Platform: { Architecture: 'x86_64', OS: 'linux' },
      Resources: { ...this.resources },
      Engine: { EngineVersion: '1', Plugins: [] },
    };
  }

  #tell({ id: containerId, taskId, nodeId }: EngineContainer, kind: EngineEvent['kind']): void {
    for (const { process, onEvent } of this.#listeners) {
      this.#queue.after(this.#chance.between(0, 5), () =>
        process.run(() => onEvent({ containerId, taskId, nodeId, kind })),
      );
    }
  }
}
