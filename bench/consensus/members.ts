import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createKeyAndCsr } from '@apiary/api/client';
import { createRootCa, issueCertificate } from '@apiary/manager/io';
import { until } from '@apiary/test/hosts';
import type { MemberQuestion, MemberSettings, MemberStatus } from './member.js';
import { freePorts } from './scratch.js';
import { MEMBERS, type Subject } from './subject.js';

const MAIN = new URL('main.js', import.meta.url);
const CLUSTER_ID = 'bench';
const VALIDITY_MS = 24 * 3600 * 1000;

/** One member of ours, a process: it can be killed and started again. */
export class Member {
  readonly id: string;
  readonly #settings: MemberSettings;
  #process: ChildProcess | undefined;
  #isNew = true;

  constructor(settings: MemberSettings) {
    this.id = settings.id;
    this.#settings = settings;
  }

  get address(): string {
    return `127.0.0.1:${this.#settings.clientPort}`;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Resolves once it serves. */
  async start(nodeArguments: readonly string[] = []): Promise<void> {
    const start = this.#isNew ? this.#settings.start : 'resume';
    this.#isNew = false;
    const child = fork(MAIN, ['member'], { execArgv: [...nodeArguments] });
    this.#process = child;
    child.send({ ...this.#settings, start });
    await answer(child);
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  /** One question at a time. */
  async ask(question: MemberQuestion): Promise<MemberStatus> {
    if (this.#process === undefined) throw new Error(`${this.id} does not run`);
    this.#process.send(question);
    return answer(this.#process);
  }
}

async function answer(child: ChildProcess): Promise<MemberStatus> {
  const ended = new AbortController();
  const exited = once(child, 'exit', { signal: ended.signal }).then(([code]) => {
    throw new Error(`a member ended with code ${code}`);
  });
  try {
    const [message] = await Promise.race([once(child, 'message', { signal: ended.signal }), exited]);
    const status = message as MemberStatus | { error: string };
    if ('error' in status) throw new Error(status.error);
    return status;
  } finally {
    ended.abort();
    exited.catch(() => undefined);
  }
}

/** Three members of ours: the log as the managers use it, on disk and over mutual TLS, under a state of keys and values. */
export class Members implements Subject {
  readonly name = 'Apiary';
  readonly all: readonly Member[];

  private constructor(all: readonly Member[]) {
    this.all = all;
  }

  /** Starts one, adds the others, and resolves once all of them vote. */
  static async start(directory: string, nodeArguments: readonly string[] = []): Promise<Members> {
    const ports = await freePorts(2 * MEMBERS);
    const ids = Array.from({ length: MEMBERS }, (_, i) => `m${i + 1}`);
    const rootCa = createRootCa(Date.now());
    const peers = Object.fromEntries(ids.map((id, i) => [id, `127.0.0.1:${ports[i]}`]));
    const all = ids.map((id, i) => {
      const { keyPem, csrPem } = createKeyAndCsr();
      const order = { rootCa, csrPem, nodeId: id, role: 'manager' as const, clusterId: CLUSTER_ID };
      const certificateChainPem = issueCertificate({ ...order, validityMs: VALIDITY_MS, nowMs: Date.now() });
      return new Member({
        id,
        start: i === 0 ? 'bootstrap' : 'join',
        directory: join(directory, id),
        clientPort: ports[MEMBERS + i] ?? 0,
        peers,
        identity: { nodeId: id, clusterId: CLUSTER_ID, certificateChainPem, keyPem, rootPem: rootCa.certificatePem },
      });
    });
    const members = new Members(all);
    await Promise.all(all.map((member) => member.start(nodeArguments)));
    const [first, ...others] = all;
    for (const { id } of others) {
      for (const type of ['add-learner', 'promote'] as const) {
        await until(`${id} to take part`, () => first?.ask({ type: 'change', change: { type, member: id } }));
      }
    }
    return members;
  }

  leader(): Promise<Member> {
    return until('the members to have a leader', async () => {
      for (const member of this.all) {
        if (member.pid !== undefined && (await member.ask({ type: 'status' })).isLeader) return member;
      }
      return undefined;
    });
  }

  async leaderAddress(): Promise<string> {
    return (await this.leader()).address;
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((member) => member.kill('SIGTERM')));
  }
}
