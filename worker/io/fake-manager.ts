import type { DesiredState, TaskStatus } from '@apiary/api/model';
import { type AgentMessage, DispatcherService, type LogBatch, LogsService, type ManagerMessage } from '@apiary/api/rpc';
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  status,
} from '@grpc/grpc-js';

type Stream = ServerDuplexStream<AgentMessage, ManagerMessage>;

/** A manager's side of the dispatcher, for tests of agents: says what it is told to, and remembers what it hears. */
export class FakeManager {
  readonly statuses = new Map<string, TaskStatus>();
  /** `task state`, in the order of arrival. */
  readonly heard: string[] = [];
  readonly said: AgentMessage[] = [];
  /** By query, what its stream has brought: `task text`, then problems, then `end`. */
  readonly published = new Map<string, string[]>();
  sessions = 0;
  acknowledges = true;
  containerSpec: Record<string, unknown> = { Image: 'i', StopGracePeriod: 1e9 };
  heartbeatPeriodMs = 1_000;
  /** What a new session is told to have. */
  wanted = new Map<string, DesiredState>();
  refuse: { code: status; details: string; metadata?: Metadata } | undefined;
  /** What a session is told that its node is to be. */
  role = '';
  /** What its tasks' addresses are said to be among. */
  gatewaySubnet = '';
  #stream: Stream | undefined;
  #server = new Server();
  #wake: (() => void)[] = [];
  addr = '';

  static async start(): Promise<FakeManager> {
    const manager = new FakeManager();
    manager.#server.addService(DispatcherService, { session: (stream: Stream) => manager.#session(stream) });
    manager.#server.addService(LogsService, {
      publish: (stream: ServerReadableStream<LogBatch, object>, callback: (error: null, answer: object) => void) =>
        manager.#publish(stream, callback),
    });
    const port = await new Promise<number>((resolve, reject) => {
      manager.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    manager.addr = `127.0.0.1:${port}`;
    return manager;
  }

  /** Resolves once `isSo`; what is waited for is looked at whenever something is heard. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  /** Resolves once the task is said to be in that state. */
  async state(taskId: string, state: string): Promise<TaskStatus> {
    await this.until(() => this.statuses.get(taskId)?.state === state);
    return this.statuses.get(taskId) as TaskStatus;
  }

  #look(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  assign(tasks: Record<string, DesiredState>): void {
    for (const [id, state] of Object.entries(tasks)) this.wanted.set(id, state);
    this.#assign(false, Object.keys(tasks), []);
  }

  remove(...taskIds: string[]): void {
    for (const id of taskIds) this.wanted.delete(id);
    this.#assign(false, [], taskIds);
  }

  cut(): void {
    this.#stream?.emit('error', { code: status.UNAVAILABLE, details: 'cut' });
  }

  send(message: ManagerMessage): void {
    this.#stream?.write(message);
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #session(stream: Stream): void {
    if (this.refuse !== undefined) {
      stream.emit('error', this.refuse);
      return;
    }
    this.#stream = stream;
    stream.on('error', () => {});
    stream.on('end', () => stream.end());
    stream.on('data', (message: AgentMessage) => {
      this.said.push(message);
      if (message.body?.$case === 'hello') this.#welcome();
      if (message.body?.$case === 'statusReport') {
        for (const { taskId, statusJson } of message.body.value.updates) {
          const said = JSON.parse(statusJson) as TaskStatus;
          this.statuses.set(taskId, said);
          this.heard.push(`${taskId} ${said.state}`);
        }
        const { sequence } = message.body.value;
        if (this.acknowledges) stream.write({ body: { $case: 'statusAck', value: { sequence } } });
      }
      this.#look();
    });
  }

  #publish(stream: ServerReadableStream<LogBatch, object>, callback: (error: null, answer: object) => void): void {
    let brought: string[] = [];
    stream.on('data', ({ queryId, lines, problems }: LogBatch) => {
      brought = this.published.get(queryId) ?? brought;
      this.published.set(queryId, brought);
      brought.push(...lines.map(({ taskId, data }) => `${taskId} ${data.toString().trimEnd()}`), ...problems);
      this.#look();
    });
    for (const event of ['end', 'cancelled']) {
      stream.on(event, () => {
        brought.push(event);
        callback(null, {});
        this.#look();
      });
    }
  }

  #welcome(): void {
    this.sessions++;
    const update = {
      heartbeatPeriodMs: this.heartbeatPeriodMs,
      managers: [{ nodeId: 'm', addr: this.addr }],
      role: this.role,
      gatewaySubnet: this.gatewaySubnet,
      dataPathPort: 4789,
      trustPem: '',
      issuerPem: '',
    };
    this.send({ body: { $case: 'welcome', value: { nodeId: 'n1', clusterId: 'k1', update } } });
    this.#assign(true, [...this.wanted.keys()], []);
  }

  #assign(complete: boolean, taskIds: string[], removedTaskIds: string[]): void {
    const spec = {
      serviceId: 's1',
      specVersion: 1,
      serviceName: 'web',
      serviceLabels: {},
      taskTemplateJson: JSON.stringify({ ContainerSpec: this.containerSpec }),
      endpointSpecJson: '',
      contentIds: {},
    };
    const tasks = taskIds.map((taskId) => {
      const desiredState = this.wanted.get(taskId) ?? 'remove';
      const observedState = this.statuses.get(taskId)?.state ?? 'assigned';
      const nothing = { networks: [], genericResourcesJson: '' };
      return { taskId, serviceId: 's1', specVersion: 1, slot: 1, desiredState, observedState, ...nothing };
    });
    const value = { complete, specs: [spec], tasks, removedTaskIds, networks: [], contents: [], removedContentIds: [] };
    this.send({ body: { $case: 'assignments', value } });
  }
}
