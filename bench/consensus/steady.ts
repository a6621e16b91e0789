import { load, PutClient } from './load.js';
import { Members } from './members.js';
import { scratchDirectory } from './scratch.js';

const INTERVAL_SECONDS = 10;

/** Whether anybody calls an election while all is well, under as much load as one client makes. */
export async function benchSteady({ minutes, inFlight }: { minutes: number; inFlight: number }): Promise<void> {
  const members = await Members.start(scratchDirectory());
  try {
    const leader = await members.leader();
    const { term } = await leader.ask({ type: 'status' });
    const client = new PutClient(leader.address);
    let writes = 0;
    let worstMs = 0;
    for (let seconds = 0; seconds < minutes * 60; seconds += INTERVAL_SECONDS) {
      const outcome = await load(client, { inFlight, valueBytes: 256, seconds: INTERVAL_SECONDS });
      writes += outcome.perSecond * INTERVAL_SECONDS;
      worstMs = Math.max(worstMs, outcome.worstMs);
      process.stderr.write(`${seconds + INTERVAL_SECONDS} s: ${outcome.perSecond.toFixed(0)} writes/s\n`);
    }
    client.close();
    const terms = await Promise.all(members.all.map(async (member) => (await member.ask({ type: 'status' })).term));
    const elections = Math.max(...terms) - term;
    process.stdout.write(
      `${minutes} minutes at ${inFlight} in flight: ${(writes / (minutes * 60)).toFixed(0)} writes/s, the slowest ` +
        `${worstMs.toFixed(0)} ms; ${elections} elections\n`,
    );
  } finally {
    await members.stop();
  }
}
