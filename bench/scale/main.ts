/**
 * How far one manager goes. Nothing here needs root.
 *
 *   node bench/dist/scale/main.js plan [--runs 5] [--tasks 10000,100000,1000000] [--nodes 5000] [--replicas 1000]
 *       the plan pass alone: services without a task in, every task on its node out. For a million tasks, give Node
 *       room: node --max-old-space-size=6000 ...
 *   node bench/dist/scale/main.js deploy [--runs 3] [--tasks 100000] [--nodes 1000] [--replicas 1000]
 *       from the first request to all tasks running on hollow nodes: a manager with a durable log, and a process with a
 *       real session for each node
 *   node bench/dist/scale/main.js memory [--tasks 100000] [--nodes 1000] [--replicas 1000]
 *       what a task takes of that manager's memory
 *   node bench/dist/scale/main.js latency [--times 500] [--nodes 100]
 *       from a request for one service of one replica to its task running, on idle hollow nodes
 *   node bench/dist/scale/main.js idle [--seconds 30] [--nodes 1000]
 *       what the leader takes of a core while its nodes do nothing
 *   node bench/dist/scale/main.js rotate [--runs 3] [--nodes 200] [--tasks 2000]
 *       `ca --rotate`: another root of the cluster, with tasks running on hollow nodes that renew their certificates
 *
 * With BENCH_PROFILE=manager or agents, that process of the last four leaves a CPU profile behind.
 */
import { parseArgs } from 'node:util';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string' },
    tasks: { type: 'string' },
    nodes: { type: 'string' },
    replicas: { type: 'string', default: '1000' },
    times: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '30' },
  },
});

const replicas = Number(values.replicas);
switch (positionals[0]) {
  case 'plan': {
    const { benchPlan } = await import('./plan.js');
    benchPlan({
      tasks: (values.tasks ?? '10000,100000,1000000').split(',').map(Number),
      nodes: Number(values.nodes ?? 5000),
      replicas,
      runs: Number(values.runs ?? 5),
    });
    break;
  }
  case 'deploy': {
    const { benchDeployment } = await import('./end-to-end.js');
    const { tasks = 100_000, nodes = 1000, runs = 3 } = values;
    await benchDeployment({ tasks: Number(tasks), nodes: Number(nodes), replicas, runs: Number(runs) });
    break;
  }
  case 'memory': {
    const { benchMemory } = await import('./end-to-end.js');
    const { tasks = 100_000, nodes = 1000 } = values;
    await benchMemory({ tasks: Number(tasks), nodes: Number(nodes), replicas });
    break;
  }
  case 'latency': {
    const { benchLatency } = await import('./end-to-end.js');
    await benchLatency({ nodes: Number(values.nodes ?? 100), times: Number(values.times) });
    break;
  }
  case 'idle': {
    const { benchIdle } = await import('./end-to-end.js');
    await benchIdle({ nodes: Number(values.nodes ?? 1000), seconds: Number(values.seconds) });
    break;
  }
  case 'rotate': {
    const { benchRotation } = await import('./rotation.js');
    const { tasks = 2000, nodes = 200, runs = 3 } = values;
    await benchRotation({ tasks: Number(tasks), nodes: Number(nodes), runs: Number(runs) });
    break;
  }
  case 'manager': {
    const { runMeasuredManager } = await import('./measured-manager.js');
    runMeasuredManager();
    break;
  }
  case 'agents': {
    const { runHollowAgents } = await import('./hollow-agents.js');
    runHollowAgents();
    break;
  }
  default:
    throw new Error('say what to measure: plan, deploy, latency, idle or rotate');
}
