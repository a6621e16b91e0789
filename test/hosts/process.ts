import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { ApiaryError } from '@apiary/std';
import { until } from './until.js';

/** How a command ended. A command ended by signal n has the code 128 + n, as in a shell. */
export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** Written to the command's standard input, which is then closed. */
  input?: string;
  env?: NodeJS.ProcessEnv;
  timeoutMs?: number;
}

/** The prefix that makes the kernel end a command, kill -9, as soon as this process is gone. */
export const DIES_WITH_US = ['setpriv', '--pdeathsig', 'KILL'] as const;

/**
 * Runs a command to its end. It gets a session of its own, so that Ctrl-C in the terminal reaches us alone.
 *
 * @param command  the program and its arguments
 * @throws ApiaryError `unavailable` when it cannot be started or is still running after `timeoutMs` (then it is killed)
 */
export function run(command: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { input, env = process.env, timeoutMs = 60_000 } = options;
  const [program = '', ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      const inner = childOf(child.pid);
      if (inner !== undefined) signal(inner, 'SIGKILL');
      child.kill('SIGKILL');
      // A grandchild may hold the pipes open; nobody waits for what it still says.
      child.stdout.destroy();
      child.stderr.destroy();
    }, timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    // A command that ends without reading its input is no failure.
    child.stdin.on('error', () => undefined);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new ApiaryError('unavailable', `cannot run ${program}: ${error.message}`, { cause: error }));
    });
    child.on('close', (code, name) => {
      clearTimeout(timer);
      const outcome = { code: exitCode(code, name), stdout: text(stdout), stderr: text(stderr) };
      if (!late) return resolve(outcome);
      const said = `${outcome.stdout}${outcome.stderr}`.trim().slice(-2000);
      reject(new ApiaryError('unavailable', `\`${command.join(' ')}\` did not end in ${timeoutMs / 1000} s: ${said}`));
    });
    child.stdin.end(input);
  });
}

/** Like `run`, for a command that must succeed: returns what it printed. */
export async function mustRun(command: readonly string[], options?: RunOptions): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code === 0) return stdout;
  const said = stderr.trim() || stdout.trim();
  throw new ApiaryError('internal', `\`${command.join(' ')}\` ended with code ${code}: ${said}`);
}

/** A command that runs on while the tests do, started through nsenter in a host's namespaces. */
export class LongRunning {
  #code: number | undefined;
  #inner: number | undefined;
  readonly #outer: ChildProcess;
  readonly #ended: Promise<number>;

  private constructor(
    readonly name: string,
    outer: ChildProcess,
  ) {
    this.#outer = outer;
    this.#ended = new Promise((resolve) => {
      const ended = (code: number) => {
        this.#code = code;
        resolve(code);
      };
      outer.once('exit', (code, name) => ended(exitCode(code, name)));
      outer.once('error', () => ended(127));
    });
  }

  /**
   * Starts a command and resolves as soon as its process is there.
   *
   * @param command  begins with an nsenter that forks, so that the process meant is that one's child
   * @param log      the file that its output is added to
   */
  static async start(
    name: string,
    command: readonly string[],
    log: string,
    env: NodeJS.ProcessEnv,
  ): Promise<LongRunning> {
    const [program = '', ...args] = command;
    const out = openSync(log, 'a');
    const outer = spawn(program, args, { env, detached: true, stdio: ['ignore', out, out] });
    closeSync(out);
    outer.unref();
    const started = new LongRunning(name, outer);
    await until(`${name} to start`, () => started.#code !== undefined || started.#findInner(), { intervalMs: 2, log });
    return started;
  }

  /** Resolves with the exit code, 128 + n after signal n. To wait for it keeps this process alive, to run does not. */
  get exited(): Promise<number> {
    if (this.#code === undefined) this.#outer.ref();
    return this.#ended;
  }

  /** The exit code, or undefined while it runs. */
  get code(): number | undefined {
    return this.#code;
  }

  /** The process id as the machine sees it. */
  get pid(): number {
    if (this.#inner === undefined || this.#code !== undefined) {
      throw new ApiaryError('failed-precondition', `${this.name} is not running`);
    }
    return this.#inner;
  }

  /** Sends a signal and returns at once. To stop it and let it go on, there are `pause` and `resume`. */
  kill(name: Exclude<NodeJS.Signals, 'SIGSTOP' | 'SIGCONT'>): void {
    signal(this.pid, name);
    // An nsenter that stands still, having stopped along with its child, would not notice the child's end.
    if (name === 'SIGKILL' && this.#outer.pid !== undefined) signal(this.#outer.pid, 'SIGCONT');
  }

  /** Stops the process (SIGSTOP) and resolves once it, and nsenter with it, stand still. */
  async pause(): Promise<void> {
    const pids = [this.pid, this.#outer.pid];
    signal(this.pid, 'SIGSTOP');
    await until(`${this.name} to stop`, () => pids.every((pid) => processState(pid) === 'T'), { intervalMs: 2 });
  }

  /** Lets the process go on. It is nsenter that does it, and must be done with it before the next pause. */
  async resume(): Promise<void> {
    const pid = this.pid;
    if (this.#outer.pid !== undefined) signal(this.#outer.pid, 'SIGCONT');
    const going = () => processState(this.#outer.pid) === 'S' && processState(pid) !== 'T';
    await until(`${this.name} to go on`, going, { intervalMs: 2 });
  }

  #findInner(): boolean {
    this.#inner = childOf(this.#outer.pid);
    return this.#inner !== undefined;
  }
}

/** Sends a signal to a process that may be gone already. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // ESRCH is the only error that root gets.
  }
}

/** The first child of a process, or undefined. */
export function childOf(pid: number | undefined): number | undefined {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return children === '' ? undefined : Number.parseInt(children, 10);
  } catch {
    return undefined;
  }
}

/** A process's arguments, each ended by a NUL, or nothing when it is gone. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** A process's one-letter state as in ps (`R`, `S`, `T`, `Z`...), or undefined when it is gone. */
export function processState(pid: number | undefined): string | undefined {
  return statFields(pid)?.[0];
}

/** When a process started, in clock ticks since boot: with its id, the name of a process that is never used again. */
export function startTicks(pid: number | undefined): number | undefined {
  const ticks = statFields(pid)?.[19];
  return ticks === undefined ? undefined : Number(ticks);
}

/** The fields of /proc/PID/stat that follow the command's name, which may hold blanks and parentheses itself. */
function statFields(pid: number | undefined): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

function exitCode(code: number | null, name: NodeJS.Signals | null): number {
  return code ?? 128 + ((name && SIGNAL_NUMBERS[name]) ?? 0);
}

function text(chunks: Buffer[]): string {
  return Buffer.concat(chunks).toString('utf8');
}
