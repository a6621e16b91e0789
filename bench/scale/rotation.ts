import { spread, table } from '../statistics.js';
import { calibration } from './calibration.js';
import { HollowCluster } from './hollow-cluster.js';

/**
 * From the request for another root to the old one being forgotten, which needs every node to have a certificate of the
 * new one; and who lost a session or a task by it.
 */
export async function benchRotation(options: { nodes: number; tasks: number; runs: number }): Promise<void> {
  const { nodes, tasks, runs } = options;
  const seconds: number[] = [];
  let lostTasks = 0;
  let lostNodes = 0;
  let lostSessions = 0;
  const cluster = await HollowCluster.open(nodes, { hasManagerAgent: true });
  await cluster.ask({ type: 'deploy', services: 1, replicas: tasks }, 'deployed');
  for (let run = 0; run < runs; run++) {
    const before = await cluster.sessions();
    const rotated = await cluster.ask({ type: 'rotate' }, 'rotated');
    seconds.push(rotated.seconds);
    lostTasks += rotated.lostTasks;
    lostNodes += rotated.lostNodes;
    const ended = (await cluster.sessions()) - before;
    lostSessions += ended;
    const lost = `${rotated.lostTasks} tasks, ${rotated.lostNodes} nodes, ${ended} sessions lost`;
    process.stderr.write(`run ${run + 1} of ${runs}: ${rotated.seconds.toFixed(2)} s, ${lost}\n`);
  }
  await cluster.close();
  process.stdout.write(
    `${table([
      [`another root for ${nodes} nodes with ${tasks} tasks, ${runs} times`, ''],
      ['from the request to the end of the old root, s', spread(seconds)],
      ['tasks that ended or were replaced', `${lostTasks}`],
      ['nodes that were not ready for a moment', `${lostNodes}`],
      ['sessions that ended', `${lostSessions}`],
    ])}\n${calibration()}\n`,
  );
}
