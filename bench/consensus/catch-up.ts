import { until } from '@apiary/test/hosts';
import { spread } from '../statistics.js';
import { load, PutClient } from './load.js';
import { Members } from './members.js';
import { scratchDirectory } from './scratch.js';

/** How long a member that was away for so many entries takes, from its start on, until it has them all, in seconds. */
export async function benchCatchUp({ runs, entries }: { runs: number; entries: number }): Promise<void> {
  const members = await Members.start(scratchDirectory());
  const seen: number[] = [];
  try {
    for (let run = 1; run <= runs; run++) {
      const leader = await members.leader();
      const away = members.all.find((member) => member !== leader);
      if (away === undefined) throw new Error('nobody follows');
      await away.kill();
      const client = new PutClient(leader.address);
      await load(client, { inFlight: 256, valueBytes: 256, writes: entries });
      client.close();
      const { appliedIndex } = await leader.ask({ type: 'status' });
      const start = performance.now();
      await away.start();
      await until(
        `${away.id} to have entry ${appliedIndex}`,
        async () => (await away.ask({ type: 'status' })).appliedIndex >= appliedIndex,
        { timeoutMs: 120_000, intervalMs: 5 },
      );
      const seconds = (performance.now() - start) / 1000;
      seen.push(seconds);
      process.stderr.write(`run ${run}: away for ${entries} entries, caught up in ${seconds.toFixed(2)} s\n`);
    }
  } finally {
    await members.stop();
  }
  process.stdout.write(`away for ${entries} entries, caught up, s: ${spread(seen)} in ${runs} runs\n`);
}
