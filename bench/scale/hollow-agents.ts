import type { NodeIdentity } from '@apiary/worker/io';
import { EndpointWatch } from './endpoint-watch.js';
import { HollowAgent } from './hollow-agent.js';

export interface AgentsSettings {
  manager: string;
  identities: NodeIdentity[];
}

/** How many open their sessions at a time: handshakes are not what is measured. */
const AT_ONCE = 50;

export type AgentsQuestion = { type: 'sessions' } | { type: 'endpoints' };

export type AgentsAnswer =
  | { type: 'ready' }
  /** How many have begun so far. */
  | { type: 'sessions'; sessions: number }
  /** For each endpoint that has become live since the last question: how many ms later each agent heard so. */
  | { type: 'endpoints'; heardAfterMs: number[][] };

/** A process with many hollow agents: says `ready` once all have their sessions, then answers what they heard. */
export function runHollowAgents(): void {
  process.once('message', ({ manager, identities }: AgentsSettings) => {
    const waiting = [...identities];
    const welcome = new Set<string>();
    let sessions = 0;
    const endpoints = new EndpointWatch();
    const say = (answer: AgentsAnswer) => process.send?.(answer);
    process.on('message', ({ type }: AgentsQuestion) => {
      if (type === 'sessions') say({ type, sessions });
      else say({ type, heardAfterMs: endpoints.take() });
    });
    const openNext = (): void => {
      const identity = waiting.pop();
      if (identity === undefined) return;
      new HollowAgent(manager, identity, {
        onWelcome: () => {
          sessions++;
          if (welcome.has(identity.nodeId)) return;
          welcome.add(identity.nodeId);
          if (welcome.size === identities.length) say({ type: 'ready' });
          openNext();
        },
        onRunning: (taskId) => endpoints.runs(taskId),
        onEndpoints: (update) => endpoints.heard(update),
      });
    };
    for (let i = 0; i < AT_ONCE; i++) openNext();
  });
  process.on('disconnect', () => process.exit());
}
