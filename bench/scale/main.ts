/**
 * How far one manager goes. Nothing here needs root.
 *
 *   node bench/dist/scale/main.js plan [--runs 5] [--tasks 10000,100000,1000000] [--nodes 5000] [--replicas 1000]
 *       the plan pass alone: services without a task in, every task on its node out. For a million tasks, give Node
 *       room: node --max-old-space-size=6000 ...
 */
import { parseArgs } from 'node:util';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    tasks: { type: 'string', default: '10000,100000,1000000' },
    nodes: { type: 'string', default: '5000' },
    replicas: { type: 'string', default: '1000' },
  },
});

switch (positionals[0]) {
  case 'plan': {
    const { benchPlan } = await import('./plan.js');
    benchPlan({
      tasks: values.tasks.split(',').map(Number),
      nodes: Number(values.nodes),
      replicas: Number(values.replicas),
      runs: Number(values.runs),
    });
    break;
  }
  default:
    throw new Error('say what to measure: plan');
}
