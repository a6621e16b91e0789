import { ApiaryError, messageOf } from '@apiary/std';
import { hostsUp } from './hosts.js';
import { watchInterruption } from './interruption.js';
import { sweep } from './lab.js';

const HELP = `Test hosts on this machine, each with its own namespaces and Docker Engine.

  node test/dist/hosts/main.js up [N]     make N hosts (default 3) and keep them until Ctrl-C
  node test/dist/hosts/main.js sweep      remove what runs that were killed left behind
  node test/dist/hosts/main.js --help     this text

Both need root.`;

async function up(count: string): Promise<void> {
  if (!/^\d+$/.test(count)) throw new ApiaryError('invalid-argument', `up: "${count}" is not a number of hosts`);
  const started = performance.now();
  const interruption = watchInterruption();
  try {
    const hosts = await hostsUp(Number(count), { signals: false, say: console.log });
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${hosts.length} hosts up in ${seconds} s, in ${hosts.lab.directory}`);
    for (const host of hosts) {
      console.log(`\n${host.name}  ${host.address}`);
      console.log(`  a shell inside:  nsenter -t ${host.pid} -m -u -n -p -- sh`);
      console.log(`  its engine:      docker -H unix://${host.engineSocket} ps`);
      console.log(`  its swarmd:      ${host.swarmdCommand().join(' ')}`);
    }
    console.log('\nPress Ctrl-C to remove them.');
    await interruption.happened;
    await hosts.down();
    console.log('removed');
  } finally {
    interruption.stop();
  }
}

async function main([command = '--help', ...rest]: string[]): Promise<void> {
  if (command === '--help' || command === '-h' || command === 'help') return console.log(HELP);
  if (command === 'up' && rest.length <= 1) return up(rest[0] ?? '3');
  if (command === 'sweep' && rest.length === 0) {
    const swept = sweep();
    return console.log(swept.length === 0 ? 'nothing to remove' : `removed ${swept.join(' ')}`);
  }
  throw new ApiaryError('invalid-argument', `unknown: "${[command, ...rest].join(' ')}"; see --help`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
