import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ApiaryError, messageOf, systemCodeOf } from '@apiary/std';
import { replaceFile } from '@apiary/std/io';
import { boolFlag, textFlag } from '../command-line/index.js';
import { whyOf } from '../surroundings.js';
import { humanBytes } from '../table/index.js';
import { CommandError, type CommandModule, type Context, INTERRUPTED_EXIT_CODE } from './context.js';
import { newPassphrase, passphraseFile } from './passphrase.js';

const output = textFlag('output', 'Write the backup to this file', { short: 'o' });
const force = boolFlag('force', 'Overwrite the file if it is there', { short: 'f' });
const plain = boolFlag('plain', 'Do not encrypt the backup: whoever reads it has the keys of the swarm');

/** How often progress is drawn. */
const REDRAW_MS = 100;

export const backup: CommandModule = {
  flags: [output, force, passphraseFile, plain],
  run: async (context, flags) => {
    const path = flags.get(output) ?? '';
    if (path === '') throw new CommandError('say where to write the backup: swarmctl backup --output FILE');
    // What reads a pipe cannot tell a backup that was cut off from a whole one.
    if (path === '-')
      throw new CommandError('a backup is written to a file, whole or not at all: name it with --output');
    if (flags.get(force) !== true) refuseExisting(path);
    const isPlain = flags.get(plain) ?? false;
    const file = flags.get(passphraseFile);
    if (isPlain && file !== undefined) throw new CommandError('--plain and --passphrase-file exclude one another');
    const passphrase = isPlain ? undefined : await newPassphrase(context, file);
    const { bytes, sha256 } = await download(context, resolve(path), flags.get(force) ?? false, passphrase);
    context.terminal.out(`Swarm backed up to ${path} (${humanBytes(bytes)}, sha256:${sha256}).\n`);
    context.terminal.err(
      isPlain
        ? 'WARNING: it is in clear. Keep it safe: it holds the keys and the secrets of the swarm.\n'
        : 'Keep its passphrase: without it, nothing can be restored.\n',
    );
  },
};

function refuseExisting(path: string): void {
  if (existsSync(path)) throw new CommandError(`${path} is there already: choose another name, or use --force`);
}

/**
 * Writes the backup beside `path` and gives it its name once all of it is on disk: under that name there is never half
 * of one.
 */
async function download(context: Context, path: string, overwrites: boolean, passphrase: string | undefined) {
  const interrupted = new AbortController();
  const listening = context.onInterrupt(() => interrupted.abort(new CommandError('', INTERRUPTED_EXIT_CODE)));
  const aside = `${path}.${process.pid}.partial`;
  const mayReplace = () => {
    interrupted.signal.throwIfAborted();
    if (!overwrites) refuseExisting(path);
  };
  try {
    const stream = await context.client.backup(interrupted.signal);
    try {
      const content = await contentOf(stream, passphrase);
      return await replaceFile(path, (file) => copy(context, content, file), { aside, mayReplace });
    } catch (error) {
      throw fileError(path, error);
    } finally {
      stream.destroy();
    }
  } catch (error) {
    throw interrupted.signal.aborted ? interrupted.signal.reason : error;
  } finally {
    listening();
  }
}

/** What is to be written: never a byte in clear when there is a passphrase. */
async function contentOf(stream: AsyncIterable<Buffer>, passphrase: string | undefined) {
  if (passphrase === undefined) return lost(stream);
  const { sealedBackup } = await import('@apiary/manager/io');
  return sealedBackup(lost(stream), { passphrase });
}

async function copy(context: Context, stream: AsyncIterable<Buffer>, file: FileHandle) {
  const hash = createHash('sha256');
  const progress = progressOf(context);
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      await file.writeFile(chunk);
      hash.update(chunk);
      bytes += chunk.length;
      progress.show(bytes);
    }
  } finally {
    progress.end();
  }
  if (bytes === 0) throw new CommandError('swarmd sent an empty backup: look into its log, then try again');
  return { bytes, sha256: hash.digest('hex') };
}

/** A stream that is cut off before its end is an error of the daemon's, not of the file's. */
async function* lost(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  const chunks = stream[Symbol.asyncIterator]();
  for (;;) {
    const next = await chunks.next().catch((error: unknown) => {
      throw new CommandError(
        `the backup was cut off (${messageOf(error)}): look into the log of swarmd, then try again`,
      );
    });
    if (next.done === true) return;
    yield next.value;
  }
}

function progressOf({ terminal, clock }: Context) {
  if (!terminal.isErrTty) return { show: () => {}, end: () => {} };
  let drawnMs = Number.NEGATIVE_INFINITY;
  return {
    show: (bytes: number) => {
      if (clock.now() - drawnMs < REDRAW_MS) return;
      drawnMs = clock.now();
      terminal.err(`\r\x1b[2K${humanBytes(bytes)}`);
    },
    end: () => terminal.err('\r\x1b[2K'),
  };
}

/** What the disk refuses, in words; any other error as it is. */
function fileError(path: string, error: unknown): unknown {
  const code = systemCodeOf(error);
  if (code === undefined || error instanceof ApiaryError) return error;
  return new CommandError(`cannot write ${path}: ${code === 'ENOSPC' ? 'the disk is full' : whyOf(error)}`);
}
