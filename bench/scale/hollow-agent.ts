import type { TaskStatus } from '@apiary/api/model';
import { type AgentMessage, DispatcherClient, type ManagerMessage } from '@apiary/api/rpc';
import { AssignmentSet, isUrgent, StatusOutbox } from '@apiary/worker/core';
import { managerCredentials, type NodeIdentity } from '@apiary/worker/io';

const DESCRIPTION = {
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 64e9, MemoryBytes: 2 ** 38 },
  Engine: { EngineVersion: '28.2.2', Plugins: [] },
};

/** A node whose engine starts everything at once: a real session, with the agent's own way to take in and to report. */
export class HollowAgent {
  readonly #stream: ReturnType<DispatcherClient['session']>;
  readonly #client: DispatcherClient;
  readonly #assignments = new AssignmentSet();
  readonly #outbox = new StatusOutbox();
  #isFlushing = false;
  #heartbeat: NodeJS.Timeout | undefined;

  /** @param onWelcome  the session has begun; `onEnded` that it is over, which no hollow agent gets over */
  constructor(manager: string, identity: NodeIdentity, on: { welcome(): void; ended(why: string): void }) {
    const { credentials, options } = managerCredentials(identity);
    this.#client = new DispatcherClient(manager, credentials, options);
    this.#stream = this.#client.session();
    this.#stream.on('data', ({ body }: ManagerMessage) => {
      if (body?.$case === 'welcome') on.welcome();
      const update = body?.$case === 'welcome' ? body.value.update : body?.$case === 'update' ? body.value : undefined;
      if (update !== undefined) this.#beatEvery(update.heartbeatPeriodMs);
      if (body?.$case === 'assignments') this.#carryOut(body.value);
      if (body?.$case === 'statusAck') {
        this.#outbox.acknowledge(body.value.sequence);
        this.#flushSoon();
      }
    });
    this.#stream.on('error', (error: Error) => on.ended(error.message));
    this.#stream.on('end', () => on.ended('the manager ended the session'));
    const descriptionJson = JSON.stringify({ ...DESCRIPTION, Hostname: `host-${identity.nodeId}` });
    const description = { descriptionJson, advertiseAddr: '', engineError: '', managerAddr: '', wireguardKey: '' };
    this.#say({ $case: 'hello', value: { description, contentKey: Buffer.alloc(0) } });
  }

  close(): void {
    clearInterval(this.#heartbeat);
    this.#stream.cancel();
    this.#client.close();
  }

  #say(body: NonNullable<AgentMessage['body']>): void {
    this.#stream.write({ body });
  }

  #beatEvery(periodMs: number): void {
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => this.#say({ $case: 'heartbeat', value: {} }), periodMs);
  }

  #carryOut(message: Parameters<AssignmentSet['apply']>[0]): void {
    const { changed, removed } = this.#assignments.apply(message);
    const atMs = Date.now();
    for (const { id, desiredState } of changed) {
      const status = statusFor(id, desiredState, atMs);
      this.#outbox.put(id, status, isUrgent(status, desiredState));
    }
    for (const id of removed) this.#outbox.forget(id);
    this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      const report = this.#outbox.nextReport();
      if (report === undefined) return;
      const updates = report.updates.map(({ taskId, status }) => ({ taskId, statusJson: JSON.stringify(status) }));
      this.#say({ $case: 'statusReport', value: { sequence: report.sequence, updates } });
    });
  }
}

/** What a container of that id would be told of. */
function statusFor(id: string, desiredState: string, atMs: number): TaskStatus {
  const container = { id: id.repeat(3).slice(0, 64), pid: 4711, exitCode: 0 };
  if (desiredState === 'ready') return { state: 'ready', atMs, message: 'prepared' };
  if (desiredState === 'running') return { state: 'running', atMs, message: 'started', container };
  return { state: 'shutdown', atMs, message: 'shutdown', container: { ...container, pid: 0 } };
}
