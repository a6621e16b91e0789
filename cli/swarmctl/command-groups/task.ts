import { type CommandGroup, ONE } from './command-entry.js';

const logs = () => import('../commands/logs.js');

/** Docker has this one under `service` alone; here it takes the name of a task as well, as `service ps` shows it. */
export const TASK: CommandGroup = {
  name: 'task',
  short: 'Look at single tasks of services',
  commands: [
    {
      name: 'logs',
      use: '[OPTIONS] TASK',
      short: 'Fetch the logs of a task',
      examples: ['swarmctl task logs --follow web.1.n0qbdlzjz1q2'],
      args: ONE,
      load: async () => (await logs()).taskLogs,
    },
  ],
};
