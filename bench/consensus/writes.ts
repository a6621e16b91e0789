import { spread, table } from '../statistics.js';
import { etcdVersion, startEtcd } from './etcd.js';
import { load, type Outcome, PutClient } from './load.js';
import { Members } from './members.js';
import { scratchDirectory } from './scratch.js';
import type { Subject } from './subject.js';

export interface WritesOptions {
  runs: number;
  seconds: number;
  inFlight: readonly number[];
  valueBytes: number;
  /** Of the subjects, the one named so alone. */
  only?: string | undefined;
  /** For the members of ours: what Node is to do beside. */
  nodeArguments: readonly string[];
}

/** Both clusters under the same load by the same client, in turn. */
export async function benchWrites(options: WritesOptions): Promise<void> {
  const directory = scratchDirectory();
  const starts = new Map<string, () => Promise<Subject>>([
    ['etcd', () => startEtcd(directory)],
    ['apiary', () => Members.start(directory, options.nodeArguments)],
  ]);
  etcdVersion();
  const subjects: Subject[] = [];
  try {
    for (const [name, start] of starts) {
      if (options.only === undefined || options.only === name) subjects.push(await start());
    }
    const rows = [['in flight', '', 'writes/s', 'p50, ms', 'p99, ms', 'worst, ms']];
    for (const inFlight of options.inFlight) {
      for (const [{ name }, outcomes] of await measured(subjects, inFlight, options)) {
        rows.push([`${inFlight}`, name, ...cells(outcomes)]);
      }
    }
    process.stdout.write(`${table(rows)}\n`);
  } finally {
    for (const subject of subjects) await subject.stop();
  }
}

async function measured(
  subjects: readonly Subject[],
  inFlight: number,
  { runs, seconds, valueBytes }: WritesOptions,
): Promise<Map<Subject, Outcome[]>> {
  const seen = new Map<Subject, Outcome[]>(subjects.map((subject) => [subject, []]));
  // The first, number 0, warms up.
  for (let run = 0; run <= runs; run++) {
    // Each goes first in every other run.
    for (const subject of run % 2 === 0 ? subjects : [...subjects].reverse()) {
      const client = new PutClient(await subject.leaderAddress());
      const outcome = await load(client, { inFlight, valueBytes, seconds });
      client.close();
      if (run === 0) continue;
      seen.get(subject)?.push(outcome);
      const { perSecond, p50Ms, p99Ms } = outcome;
      const told = `${perSecond.toFixed(0)}/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
      process.stderr.write(`${inFlight} in flight, run ${run}: ${subject.name} ${told}\n`);
    }
  }
  return seen;
}

function cells(outcomes: readonly Outcome[]): string[] {
  const of = (pick: (outcome: Outcome) => number) => outcomes.map(pick);
  return [
    spread(
      of(({ perSecond }) => perSecond),
      0,
    ),
    spread(of(({ p50Ms }) => p50Ms)),
    spread(of(({ p99Ms }) => p99Ms)),
    Math.max(...of(({ worstMs }) => worstMs)).toFixed(0),
  ];
}
