import { execFile } from 'node:child_process';
import { ApiaryError, messageOf, systemCodeOf } from '@apiary/std';

/** A root shell made by plain `su` lacks the sbin directories, where these tools live. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
const TIMEOUT_MS = 30_000;

/**
 * Runs a tool to its end.
 *
 * @returns what it printed; undefined when it ended with another code than 0
 * @throws ApiaryError `failed-precondition` when it is not installed
 */
export async function tried(tool: string, args: readonly string[], input = ''): Promise<string | undefined> {
  const { output, failure } = await run(tool, args, input);
  return failure === undefined ? output : undefined;
}

/** Runs a tool that must succeed. @throws ApiaryError with its words */
export async function done(tool: string, args: readonly string[], input = ''): Promise<string> {
  const { output, failure } = await run(tool, args, input);
  if (failure === undefined) return output;
  throw new ApiaryError('internal', `${tool} ${args.join(' ')}: ${failure}`);
}

function run(tool: string, args: readonly string[], input: string): Promise<{ output: string; failure?: string }> {
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, PATH, LC_ALL: 'C' }, timeout: TIMEOUT_MS };
    const child = execFile(tool, args, options, (error, stdout, stderr) => {
      if (error === null) resolve({ output: stdout });
      else if (systemCodeOf(error) === 'ENOENT') {
        reject(new ApiaryError('failed-precondition', `${tool} is not installed`, { cause: error }));
      } else resolve({ output: stdout, failure: stderr.trim() || messageOf(error) });
    });
    // One that ends before it has read all says why by its code.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}
