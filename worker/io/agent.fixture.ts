import { SeededRng } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { ChannelCredentials } from '@grpc/grpc-js';
import { pino } from 'pino';
import type { Test } from 'tap';
import { type Agent, startAgent } from './agent.js';
import { FakeEngine } from './fake-engine.js';
import { FakeManager } from './fake-manager.js';

export const IDENTITY = {
  nodeId: 'n1',
  clusterId: 'k1',
  role: 'worker',
  certificateChainPem: '',
  keyPem: '',
  rootPem: '',
} as const;

interface Bench {
  manager: FakeManager;
  engine: FakeEngine;
  agent(options?: Partial<Parameters<typeof startAgent>[0]>): Agent;
}

/** An agent between a manager and an engine that are the test's. */
export async function bench(t: Test): Promise<Bench> {
  const manager = await FakeManager.start();
  const engine = new FakeEngine();
  const agents: Agent[] = [];
  t.teardown(async () => {
    for (const agent of agents) await agent.stop();
    manager.stop();
  });
  const agent: Bench['agent'] = (options) => {
    const started = startAgent({
      identity: () => IDENTITY,
      managers: () => [manager.addr],
      advertiseAddr: '10.0.0.1',
      engine,
      clock: new SystemClock(),
      rng: new SeededRng(1),
      logger: pino({ level: 'silent' }),
      channel: () => ({
        credentials: ChannelCredentials.createInsecure(),
        options: { 'grpc.use_local_subchannel_pool': 1, 'grpc.initial_reconnect_backoff_ms': 50 },
      }),
      ...options,
    });
    agents.push(started);
    return started;
  };
  return { manager, engine, agent };
}
