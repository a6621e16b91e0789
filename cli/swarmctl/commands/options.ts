import type { Filters } from '@apiary/api/client';
import {
  boolFlag,
  type Flag,
  FlagValueError,
  type ParsedFlags,
  parsePositiveDuration,
  textFlag,
  valueFlag,
} from '../command-line/index.js';

/** Flags that several commands share. */

const FORMATS = `'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`;

export const listFormat = textFlag(
  'format',
  `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
${FORMATS}`,
);

export const inspectFormat = textFlag('format', `Format output using a custom template:\n${FORMATS}`, { short: 'f' });

export const taskFormat = textFlag('format', 'Pretty-print tasks using a Go template');

export const quietIds = boolFlag('quiet', 'Only display IDs', { short: 'q' });
export const quietTaskIds = boolFlag('quiet', 'Only display task IDs', { short: 'q' });
export const noTrunc = boolFlag('no-trunc', 'Do not truncate output');
export const noResolve = boolFlag('no-resolve', 'Do not map IDs to Names');
export const pretty = boolFlag('pretty', 'Print the information in a human friendly format');

/** `KEY=VALUE`, repeated; the values of one key are alternatives. */
export const filter: Flag<Filters> = {
  name: 'filter',
  short: 'f',
  type: 'filter',
  usage: 'Filter output based on conditions provided',
  parse: (text, before = {}) => {
    if (text === '') return before;
    const at = text.indexOf('=');
    if (at === -1) throw new FlagValueError('bad format of filter (expected name=value)');
    const key = text.slice(0, at).trim().toLowerCase();
    return { ...before, [key]: [...(before[key] ?? []), text.slice(at + 1).trim()] };
  },
};

export const detach = boolFlag('detach', 'Exit immediately instead of waiting for the service to converge', {
  short: 'd',
});
export const quietProgress = boolFlag('quiet', 'Suppress progress output', { short: 'q' });

/** How long nothing may get on before waiting is given up, when the user does not say. */
const DEFAULT_TIMEOUT_MS = 5 * 60_000;

/** Ours: Docker waits for ever. @returns nanoseconds */
export const timeout = valueFlag(
  'timeout',
  'Give up waiting when nothing has got on for this long (0 to wait for ever)',
  'duration',
  parsePositiveDuration,
  { defaultText: '5m' },
);

/** How long to wait, and whether to show how it goes, as `timeout` and `quietProgress` say. */
export function patienceOf(flags: ParsedFlags): { timeoutMs: number; quiet: boolean } {
  const nanoseconds = flags.get(timeout);
  return {
    timeoutMs: nanoseconds === undefined ? DEFAULT_TIMEOUT_MS : nanoseconds / 1e6,
    quiet: flags.get(quietProgress) ?? false,
  };
}
