import { FlagValueError, valueFlag } from '../command-line/index.js';
import { planText } from '../stack/plan-text.js';
import { checkStackName } from '../stack/preconditions.js';
import { FILE_FLAGS } from '../stack/read-stack.js';
import type { CommandModule } from './context.js';
import { planFromFiles, prune, resolveImage } from './stack-deploy.js';

const format = valueFlag<'text' | 'json'>(
  'format',
  'Print the plan for people ("text"), or for "stack deploy --plan" ("json": it holds the data of secrets)',
  'string',
  (text) => {
    if (text === 'text' || text === 'json') return text;
    throw new FlagValueError('it is text or json');
  },
  { defaultText: '"text"' },
);

/** `stack plan`: what a deploy would do, and nothing done. */
export const plan: CommandModule = {
  flags: [...FILE_FLAGS, format, prune, resolveImage],
  run: async (context, flags, [name = '']) => {
    checkStackName(name);
    const { plan: made } = await planFromFiles(context, flags, name);
    context.terminal.out(flags.get(format) === 'json' ? `${JSON.stringify(made, undefined, 2)}\n` : planText(made));
  },
};
