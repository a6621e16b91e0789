/**
 * What replication costs: three members as processes on this machine, every write synced to disk by a majority before it
 * is acknowledged.
 *
 *   node bench/dist/consensus/main.js writes [--runs 20] [--seconds 2] [--in-flight 1,64,256] [--value-bytes 256]
 *       [--only etcd|apiary]       writes a second, and how long each takes, beside Debian's etcd under the same load
 *   ... catch-up [--runs 20] [--entries 100000]     how soon a member that was away has all that it missed
 *   ... snapshot [--runs 20] [--tasks 100000]       how long a manager's snapshot keeps writes waiting
 *   ... steady [--minutes 10] [--in-flight 256]     elections while all is well, under full load
 *
 * `--profile DIRECTORY` has the members write CPU profiles there.
 */
import { parseArgs } from 'node:util';
import { benchCatchUp } from './catch-up.js';
import { runMember } from './member.js';
import { benchSnapshot } from './snapshot.js';
import { benchSteady } from './steady.js';
import { benchWrites } from './writes.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '2' },
    'in-flight': { type: 'string' },
    'value-bytes': { type: 'string', default: '256' },
    only: { type: 'string' },
    entries: { type: 'string', default: '100000' },
    tasks: { type: 'string', default: '100000' },
    minutes: { type: 'string', default: '10' },
    profile: { type: 'string' },
  },
});
const runs = Number(values.runs);
const nodeArguments = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];

switch (positionals[0]) {
  case 'member':
    runMember();
    break;
  case 'writes':
    await benchWrites({
      runs,
      seconds: Number(values.seconds),
      inFlight: (values['in-flight'] ?? '1,64,256').split(',').map(Number),
      valueBytes: Number(values['value-bytes']),
      only: values.only,
      nodeArguments,
    });
    break;
  case 'catch-up':
    await benchCatchUp({ runs, entries: Number(values.entries) });
    break;
  case 'snapshot':
    await benchSnapshot({ runs, tasks: Number(values.tasks) });
    break;
  case 'steady':
    await benchSteady({ minutes: Number(values.minutes), inFlight: Number(values['in-flight'] ?? 256) });
    break;
  default:
    throw new Error('say what to measure: writes, catch-up, snapshot or steady');
}
