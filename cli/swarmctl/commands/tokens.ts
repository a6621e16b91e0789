import { listFlag, parseDuration, textFlag, valueFlag } from '../command-line/index.js';
import { toMap } from '../spec/index.js';
import { parseLabel } from '../spec/values.js';
import { JOIN_TOKENS, joinTokenRows, renderList } from '../table/index.js';
import type { CommandModule } from './context.js';
import { listFormat, quietIds } from './options.js';
import { removeEach } from './removal.js';

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
  flags: [listFormat, quietIds],
  run: async ({ client, clock, terminal }, flags) => {
    const rows = joinTokenRows(await client.joinTokens(), clock.now());
    terminal.out(renderList(JOIN_TOKENS, rows, flags.get(listFormat) ?? '', flags.get(quietIds) ?? false));
  },
};

export const remove: CommandModule = {
  flags: [],
  run: (context, _flags, ids) => removeEach(context, ids, (id) => context.client.removeJoinToken(id)),
};
