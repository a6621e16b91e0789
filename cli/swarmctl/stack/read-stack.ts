import { type Diagnostics, diagnosticText } from '@apiary/stack-specs/core';
import { loadProject } from '@apiary/stack-specs/io';
import { boolFlag, listFlag, type ParsedFlags } from '../command-line/index.js';
import { CommandError, type Terminal } from '../commands/context.js';

/** What every command that reads stack files is told. */

export const composeFile = listFlag(
  'compose-file',
  'Path to a stack file, or "-" to read from stdin; several are merged in their order',
  (text) => text.split(','),
  { short: 'c' },
);
const envFile = listFlag(
  'env-file',
  'File of variables for the stack files, instead of the .env beside them',
  (text) => text,
);
const profile = listFlag('profile', 'Deploy services of this profile, too ("*" for all)', (text) => text);
export const strict = boolFlag('strict', 'Refuse files with anything that would not be honoured');
export const skipInterpolation = boolFlag('skip-interpolation', 'Skip interpolation and output only merged config');

export const FILE_FLAGS = [composeFile, envFile, profile, strict];

/** More than these are counted only. */
const MOST_SHOWN = 50;

/** @throws CommandError when no file is named */
export function readStackFiles(flags: ParsedFlags, { interpolates }: { interpolates: boolean }) {
  const files = (flags.get(composeFile) ?? []).flat();
  if (files.length === 0) throw new CommandError('specify a stack file (with --compose-file)');
  return loadProject({
    files,
    envFiles: flags.get(envFile) ?? [],
    profiles: flags.get(profile) ?? [],
    interpolate: interpolates,
    environment: process.env,
  });
}

/**
 * Shows what was found. Warnings are shown, and with `--strict` they are as bad as errors.
 *
 * @throws CommandError when there are errors
 */
export function report(diagnostics: Diagnostics, flags: ParsedFlags, terminal: Pick<Terminal, 'err'>): void {
  const { errors, warnings } = diagnostics;
  const isStrict = flags.get(strict) === true;
  const faults = isStrict ? [...errors, ...warnings] : errors;
  if (!isStrict) for (const warning of warnings.slice(0, MOST_SHOWN)) terminal.err(`${diagnosticText(warning)}\n`);
  if (faults.length === 0) return;
  const shown = faults.slice(0, MOST_SHOWN).map(diagnosticText);
  const more = faults.length - shown.length;
  throw new CommandError([...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('\n'));
}
