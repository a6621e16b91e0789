import { FlagValueError, parseDuration } from '../command-line/index.js';
import { CommandError } from './context.js';

/** A date, with a time of day down to nanoseconds or without, and a zone or that of this machine. */
const DATE = /^(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?([zZ]|[+-]\d\d:\d\d)?$/;
const SECONDS = /^-?\d+(\.\d{1,9})?$/;

/**
 * A moment as Docker's command line takes it: how long ago (`42m`), a date, or seconds since 1970.
 *
 * @returns seconds since 1970, with nine more digits when it was a date: what the API takes
 * @throws CommandError in Docker's words
 */
export function momentOf(text: string, nowMs: number): string {
  const agoNs = durationOf(text);
  if (agoNs !== undefined) return String(Math.floor((nowMs - agoNs / 1e6) / 1000));
  const [, day, hours = '00', minutes = '00', seconds = '00', fraction = '', zone = ''] = DATE.exec(text) ?? [];
  const atMs =
    day === undefined ? Number.NaN : Date.parse(`${day}T${hours}:${minutes}:${seconds}${zone.toUpperCase()}`);
  if (!Number.isNaN(atMs)) return `${atMs / 1000}.${fraction.padEnd(9, '0')}`;
  if (SECONDS.test(text)) return text;
  throw new CommandError(`failed to parse value as time or duration: ${JSON.stringify(text)}`);
}

/** As `momentOf`, of the flag of logs. */
export function sinceOf(text: string, nowMs: number): string {
  try {
    return momentOf(text, nowMs);
  } catch (error) {
    if (error instanceof CommandError) throw new CommandError(`invalid value for "since": ${error.message}`);
    throw error;
  }
}

function durationOf(text: string): number | undefined {
  if (text === '0') return undefined;
  try {
    return parseDuration(text);
  } catch (error) {
    if (error instanceof FlagValueError) return undefined;
    throw error;
  }
}
