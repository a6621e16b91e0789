import { ApiaryError } from '@apiary/std';
import type {
  ContainerConfig,
  Engine,
  EngineContainer,
  EngineEvent,
  HostDescription,
  LogsOptions,
  OutputLine,
} from './engine.js';

/** An engine in memory, for tests of what stands on the port. Its containers outlive whoever talks to it. */
export class FakeEngine implements Engine {
  readonly containerRoot = { uid: 0, gid: 0 };
  readonly containers = new Map<string, EngineContainer & { name: string }>();
  /** Every call that changed something: `create web.1.abc`. */
  readonly done: string[] = [];
  /** Decides, before each call, how it goes; an ApiaryError makes it fail, a promise makes it wait. */
  before: (call: string, what: string) => Promise<void> | void = () => {};
  plugins: HostDescription['Engine']['Plugins'] = [];
  #count = 0;
  #isUp = true;
  readonly #outputs = new Map<string, OutputLine[]>();
  #readers: (() => void)[] = [];
  #watchers = new Set<{ onEvent: (event: EngineEvent) => void; onLost: (reason: string) => void }>();

  async ping(): Promise<void> {
    await this.#called('ping', '');
  }

  async describe(): Promise<HostDescription> {
    await this.#called('describe', '');
    return {
      Hostname: 'fake',
      Platform: { Architecture: 'x86_64', OS: 'linux' },
      Resources: { NanoCPUs: 2e9, MemoryBytes: 1e9 },
      Engine: { EngineVersion: '1', Plugins: this.plugins },
    };
  }

  async adopt(): Promise<EngineContainer[]> {
    await this.#called('adopt', '');
    return [...this.containers.values()];
  }

  async pull(image: string, signal: AbortSignal): Promise<void> {
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    await Promise.race([this.#called('pull', image), aborted]);
  }

  async create({ name, taskId, body }: ContainerConfig): Promise<string> {
    await this.#called('create', name);
    const earlier = [...this.containers.values()].find((container) => container.name === name);
    if (earlier !== undefined) return earlier.id;
    const id = `c${++this.#count}`;
    const labels = body['Labels'] as Record<string, string>;
    const nodeId = labels['com.docker.swarm.node.id'] ?? '';
    this.containers.set(id, {
      id,
      name,
      taskId,
      nodeId,
      origin: { taskName: name, serviceId: labels['com.docker.swarm.service.id'] ?? '', serviceName: 'web' },
      state: 'created',
      pid: 0,
      exitCode: 0,
      oomKilled: false,
      error: '',
      ports: [],
    });
    this.done.push(`create ${name}`);
    this.#tell(id, 'created');
    return id;
  }

  async start(containerId: string): Promise<void> {
    await this.#called('start', containerId);
    const container = this.#get(containerId);
    if (container.state === 'running') return;
    Object.assign(container, { state: 'running', pid: 100 + this.#count });
    this.done.push(`start ${container.name}`);
    this.#tell(containerId, 'started');
  }

  async inspect(containerId: string): Promise<EngineContainer | undefined> {
    await this.#called('inspect', containerId);
    const container = this.containers.get(containerId);
    return container && { ...container };
  }

  async stop(containerId: string): Promise<void> {
    await this.#called('stop', containerId);
    const container = this.containers.get(containerId);
    if (container?.state !== 'running') return;
    this.done.push(`stop ${container.name}`);
    this.exit(container.taskId, 143);
  }

  async remove(containerId: string): Promise<void> {
    await this.#called('remove', containerId);
    const container = this.containers.get(containerId);
    if (container === undefined) return;
    this.#tell(containerId, 'removed');
    this.containers.delete(containerId);
    this.done.push(`remove ${container.name}`);
  }

  async *logs(containerId: string, { follow, tail }: LogsOptions, signal: AbortSignal): AsyncGenerator<OutputLine[]> {
    await this.#called('logs', containerId);
    const { name, taskId } = this.#get(containerId);
    const isOver = () => !follow || signal.aborted || this.containers.get(containerId)?.state !== 'running';
    signal.addEventListener('abort', () => this.#wake());
    let at = tail < 0 ? 0 : Math.max(0, this.output(taskId).length - tail);
    this.done.push(`logs ${name}`);
    for (;;) {
      const fresh = this.output(taskId).slice(at);
      at += fresh.length;
      if (fresh.length > 0) yield fresh;
      else if (isOver()) return;
      else await new Promise<void>((resolve) => this.#readers.push(resolve));
    }
  }

  async watch(onEvent: (event: EngineEvent) => void, onLost: (reason: string) => void): Promise<{ close(): void }> {
    await this.#called('watch', '');
    const watcher = { onEvent, onLost };
    this.#watchers.add(watcher);
    return { close: () => this.#watchers.delete(watcher) };
  }

  /** What a task's container has written. */
  output(taskId: string): OutputLine[] {
    return this.#outputs.get(taskId) ?? [];
  }

  /** A task's container writes a line. @param second  of the first minute of 2020, when it does */
  write(taskId: string, second: number, text: string, stream: OutputLine['stream'] = 'stdout'): void {
    const timestamp = `2020-01-01T00:00:${String(second).padStart(2, '0')}.000000000Z`;
    const line: OutputLine = { stream, timestamp, data: Buffer.from(`${text}\n`) };
    this.#outputs.set(taskId, [...this.output(taskId), line]);
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#readers.splice(0)) resolve();
  }

  /** The process of a task's container ends by itself. */
  exit(taskId: string, exitCode: number): void {
    const container = this.of(taskId);
    Object.assign(container, { state: 'exited', pid: 0, exitCode });
    delete container.health;
    this.#wake();
    this.#tell(container.id, 'ended');
  }

  health(taskId: string, health: NonNullable<EngineContainer['health']>): void {
    const container = this.of(taskId);
    container.health = health;
    this.#tell(container.id, 'health');
  }

  /** The engine goes; its containers run on unless `exit` says otherwise. */
  down(): void {
    this.#isUp = false;
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    for (const { onLost } of watchers) onLost('connection lost');
  }

  up(): void {
    this.#isUp = true;
  }

  of(taskId: string): EngineContainer {
    const container = [...this.containers.values()].find((it) => it.taskId === taskId);
    if (container === undefined) throw new Error(`task ${taskId} has no container`);
    return container;
  }

  #get(containerId: string): EngineContainer & { name: string } {
    const container = this.containers.get(containerId);
    if (container === undefined) throw new ApiaryError('not-found', `No such container: ${containerId}`);
    return container;
  }

  async #called(call: string, what: string): Promise<void> {
    if (!this.#isUp) throw new ApiaryError('unavailable', 'no answer from the fake engine');
    await this.before(call, what);
  }

  #tell(containerId: string, kind: EngineEvent['kind']): void {
    const { taskId, nodeId } = this.#get(containerId);
    for (const { onEvent } of [...this.#watchers]) onEvent({ containerId, taskId, nodeId, kind });
  }
}
