import { HollowCluster } from '../scale/hollow-cluster.js';
import { quantile, table } from '../statistics.js';

const NETWORK = 'front';
const WARM_UP = 10;

export interface EndpointsOptions {
  agents: number;
  times: number;
}

/**
 * From one agent saying that its task runs to the last of all agents having the task's endpoint, by real sessions and a
 * synced log. Each agent has a task on the network.
 */
export async function measureEndpoints({ agents, times }: EndpointsOptions): Promise<string> {
  const cluster = await HollowCluster.open(agents);
  try {
    await cluster.ask({ type: 'network-everywhere', name: NETWORK }, 'network-everywhere');
    await cluster.ask({ type: 'one-by-one', times: WARM_UP, network: NETWORK }, 'one-by-one');
    await cluster.heardAfterMs();
    await cluster.ask({ type: 'one-by-one', times, network: NETWORK }, 'one-by-one');
    const heard = await cluster.heardAfterMs();
    const byAll = heard.filter((each) => each.length === agents);
    const text = (values: number[]) => [0.5, 0.99, 1].map((q) => quantile(values, q).toFixed(1));
    return table([
      [`${times} changes, ${agents} agents`, 'p50, ms', 'p99', 'longest'],
      ['an agent has it', ...text(heard.flat())],
      ['all have it', ...text(byAll.map((each) => Math.max(...each)))],
      ['not heard by all', `${times - byAll.length}`],
    ]);
  } finally {
    await cluster.close();
  }
}
