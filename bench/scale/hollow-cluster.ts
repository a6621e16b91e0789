import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKeyAndCsr } from '@apiary/api/client';
import { createRootCa, issueCertificate, type RootCa } from '@apiary/manager/io';
import { freePort } from '@apiary/test/hosts';
import type { NodeIdentity } from '@apiary/worker/io';
import type { AgentsAnswer, AgentsQuestion } from './hollow-agents.js';
import type { ManagerAnswer, ManagerQuestion, ManagerSettings } from './measured-manager.js';

const MAIN = new URL('main.js', import.meta.url);
const CLUSTER_ID = 'bench';
const VALIDITY_MS = 24 * 3600 * 1000;

/** One manager and many hollow nodes: two processes, joined by as many sessions as there are nodes. */
export class HollowCluster {
  readonly #manager: ChildProcess;
  readonly #agents: ChildProcess;
  readonly #directory: string;

  private constructor(manager: ChildProcess, agents: ChildProcess, directory: string) {
    this.#manager = manager;
    this.#agents = agents;
    this.#directory = directory;
    // Whoever is killed takes them along: they end with the channel to this process.
    for (const child of [manager, agents]) child.once('exit', (code) => code !== 0 && code !== null && process.exit(1));
  }

  /**
   * Resolves once every node has its session. The log is on the disk of the system's folder for temporary files.
   *
   * @param options  whether the manager's own node has an agent too
   */
  static async open(nodes: number, { hasManagerAgent = false } = {}): Promise<HollowCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'apiary-scale-'));
    const address = `127.0.0.1:${await freePort()}`;
    const rootCa = createRootCa(Date.now());
    const ids = Array.from({ length: nodes }, (_, i) => `n${String(i).padStart(24, '0')}`);
    const manager = fork(MAIN, ['manager'], { execArgv: ['--expose-gc', ...profiled('manager')] });
    const own = identityOf(rootCa, `m${'0'.repeat(24)}`, 'manager');
    const settings: ManagerSettings = {
      directory: join(directory, 'raft'),
      clusterId: CLUSTER_ID,
      rootCa,
      identity: { ...own, role: 'manager' },
      address,
      nodes: ids,
    };
    manager.send(settings);
    await answerOf(manager);
    const agents = fork(MAIN, ['agents'], { execArgv: profiled('agents'), serialization: 'advanced' });
    const identities = ids.map((id) => identityOf(rootCa, id, 'worker'));
    agents.send({ manager: address, identities: hasManagerAgent ? [own, ...identities] : identities });
    await answerOf(agents);
    return new HollowCluster(manager, agents, directory);
  }

  async ask<T extends ManagerAnswer['type']>(
    question: ManagerQuestion,
    type: T,
  ): Promise<Extract<ManagerAnswer, { type: T }>> {
    this.#manager.send(question);
    const answer = await answerOf(this.#manager);
    if (answer.type !== type) throw new Error(`the manager answers ${JSON.stringify(answer)}`);
    return answer as Extract<ManagerAnswer, { type: T }>;
  }

  /** How many sessions have begun so far. */
  async sessions(): Promise<number> {
    return (await this.#askAgents({ type: 'sessions' }, 'sessions')).sessions;
  }

  /** For each endpoint that has become live since the last question: how many ms later each agent heard so. */
  async heardAfterMs(): Promise<number[][]> {
    return (await this.#askAgents({ type: 'endpoints' }, 'endpoints')).heardAfterMs;
  }

  async #askAgents<T extends AgentsAnswer['type']>(
    question: AgentsQuestion,
    type: T,
  ): Promise<Extract<AgentsAnswer, { type: T }>> {
    this.#agents.send(question);
    const [answer] = (await once(this.#agents, 'message')) as [AgentsAnswer];
    if (answer.type !== type) throw new Error(`the agents answer ${JSON.stringify(answer)}`);
    return answer as Extract<AgentsAnswer, { type: T }>;
  }

  async close(): Promise<void> {
    for (const child of [this.#agents, this.#manager]) {
      child.removeAllListeners('exit');
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** With BENCH_PROFILE=manager or agents, that process writes a CPU profile into the folder it was started in. */
function profiled(which: string): string[] {
  return process.env['BENCH_PROFILE'] === which ? ['--cpu-prof'] : [];
}

function identityOf(rootCa: RootCa, nodeId: string, role: 'worker' | 'manager'): NodeIdentity {
  const { keyPem, csrPem } = createKeyAndCsr();
  const order = { rootCa, csrPem, nodeId, role, clusterId: CLUSTER_ID, validityMs: VALIDITY_MS, nowMs: Date.now() };
  const certificateChainPem = issueCertificate(order);
  return { nodeId, clusterId: CLUSTER_ID, role, certificateChainPem, keyPem, rootPem: rootCa.certificatePem };
}

async function answerOf(child: ChildProcess): Promise<ManagerAnswer> {
  const [answer] = await once(child, 'message');
  return answer;
}
