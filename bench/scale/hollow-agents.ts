import type { NodeIdentity } from '@apiary/worker/io';
import { HollowAgent } from './hollow-agent.js';

export interface AgentsSettings {
  manager: string;
  identities: NodeIdentity[];
}

/** How many open their sessions at a time: handshakes are not what is measured. */
const AT_ONCE = 50;

/** A process with many hollow agents: says `ready` once all have their sessions, and how many there were when asked again. */
export function runHollowAgents(): void {
  process.once('message', ({ manager, identities }: AgentsSettings) => {
    const waiting = [...identities];
    const welcome = new Set<string>();
    let sessions = 0;
    process.on('message', () => process.send?.({ type: 'sessions', sessions }));
    const openNext = (): void => {
      const identity = waiting.pop();
      if (identity === undefined) return;
      new HollowAgent(manager, identity, () => {
        sessions++;
        if (welcome.has(identity.nodeId)) return;
        welcome.add(identity.nodeId);
        if (welcome.size === identities.length) process.send?.({ type: 'ready' });
        openNext();
      });
    };
    for (let i = 0; i < AT_ONCE; i++) openNext();
  });
  process.on('disconnect', () => process.exit());
}
