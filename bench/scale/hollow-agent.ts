import { tlsInfoOf } from '@apiary/api/client';
import type { TaskStatus } from '@apiary/api/model';
import {
  type AgentMessage,
  type DescriptionUpdate,
  DispatcherClient,
  type EndpointSetUpdate,
  type ManagerMessage,
} from '@apiary/api/rpc';
import { AssignmentSet, isUrgent, StatusOutbox } from '@apiary/worker/core';
import { issuerOf, managerCredentials, type NodeIdentity } from '@apiary/worker/io';
import { HollowIdentity } from './hollow-identity.js';

const DESCRIPTION = {
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 64e9, MemoryBytes: 2 ** 38 },
  Engine: { EngineVersion: '28.2.2', Plugins: [] },
};

/** When a session has ended: a machine that has too much to do makes managers miss heartbeats. */
const RETRY_MS = 200;

/** What is told of an agent. */
export interface AgentListener {
  /** With each session that begins: another follows when one ends. */
  onWelcome(): void;
  /** It says that its task runs. */
  onRunning?(taskId: string): void;
  onEndpoints?(update: EndpointSetUpdate): void;
}

/** A node whose engine starts everything at once: a real session, with the agent's own way to take in and to report. */
export class HollowAgent {
  readonly #manager: string;
  readonly #identity: HollowIdentity;
  readonly #listener: AgentListener;
  readonly #assignments = new AssignmentSet();
  readonly #outbox = new StatusOutbox();
  #stream: ReturnType<DispatcherClient['session']> | undefined;
  #isFlushing = false;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(manager: string, identity: NodeIdentity, listener: AgentListener) {
    this.#manager = manager;
    this.#identity = new HollowIdentity(manager, identity, () =>
      this.#say({ $case: 'description', value: this.#description() }),
    );
    this.#listener = listener;
    this.#open();
  }

  #open(): void {
    const { credentials, options } = managerCredentials(this.#identity.shown);
    const client = new DispatcherClient(this.#manager, credentials, options);
    const stream = client.session();
    this.#stream = stream;
    let isOver = false;
    const ended = (): void => {
      if (isOver) return;
      isOver = true;
      clearInterval(this.#heartbeat);
      client.close();
      this.#outbox.sessionEnded();
      setTimeout(() => this.#open(), RETRY_MS);
    };
    stream.on('data', ({ body }: ManagerMessage) => {
      if (body?.$case === 'welcome') this.#listener.onWelcome();
      if (body?.$case === 'endpoints') this.#listener.onEndpoints?.(body.value);
      const update = body?.$case === 'welcome' ? body.value.update : body?.$case === 'update' ? body.value : undefined;
      if (update !== undefined) {
        this.#beatEvery(update.heartbeatPeriodMs);
        this.#identity.follow(update);
      }
      if (body?.$case === 'assignments') this.#carryOut(body.value);
      if (body?.$case === 'statusAck') {
        this.#outbox.acknowledge(body.value.sequence);
        this.#flushSoon();
      }
    });
    stream.on('error', ended);
    stream.on('end', ended);
    this.#say({ $case: 'hello', value: { description: this.#description(), contentKey: Buffer.alloc(0) } });
  }

  #description(): DescriptionUpdate {
    const { shown } = this.#identity;
    const TLSInfo = tlsInfoOf(shown.rootPem, String(issuerOf(shown)));
    const descriptionJson = JSON.stringify({ ...DESCRIPTION, Hostname: `host-${shown.nodeId}`, TLSInfo });
    return { descriptionJson, advertiseAddr: '', engineError: '', managerAddr: '', wireguardKey: '' };
  }

  #say(body: NonNullable<AgentMessage['body']>): void {
    this.#stream?.write({ body });
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
      if (status.state === 'running') this.#listener.onRunning?.(id);
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
