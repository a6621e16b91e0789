import { listFlag, parseDuration, textFlag, valueFlag } from '../command-line/index.js';
import { toMap } from '../spec/index.js';
import { parseLabel } from '../spec/values.js';
import { alignColumns } from '../table/index.js';
import type { CommandModule } from './context.js';

const role = textFlag('role', 'What joins with it ("worker", "manager")', { defaultText: '"worker"' });
const validity = valueFlag(
  'validity',
  'How long it is good for (ns|us|ms|s|m|h) (default until removed)',
  'duration',
  parseDuration,
);
const label = listFlag('label', 'Label of every node that joins with it (key=value)', parseLabel);

export const create: CommandModule = {
  flags: [role, validity, label],
  run: async ({ client, terminal }, flags) => {
    const { Token } = await client.createJoinToken({
      Role: flags.get(role) ?? 'worker',
      Labels: toMap(flags.get(label) ?? []),
      ValidityNs: flags.get(validity) ?? 0,
    });
    terminal.out(`${Token}\n`);
  },
};

export const list: CommandModule = {
  flags: [],
  run: async ({ client, terminal }) => {
    const rows = (await client.joinTokens()).map(({ ID, Role, Labels, CreatedAt, ExpiresAt }) => {
      const labels = Object.entries(Labels).map(([key, value]) => (value === '' ? key : `${key}=${value}`));
      return [ID, Role, labels.join(','), CreatedAt.slice(0, 16), ExpiresAt.slice(0, 16)].join('\t');
    });
    const lines = ['ID\tROLE\tLABELS\tCREATED\tEXPIRES', ...rows];
    terminal.out(alignColumns(`${lines.join('\n')}\n`, { leastWidth: 10, padding: 3 }));
  },
};

export const remove: CommandModule = {
  flags: [],
  run: async ({ client, terminal }, _flags, ids) => {
    for (const id of ids) {
      await client.removeJoinToken(id);
      terminal.out(`${id}\n`);
    }
  },
};
