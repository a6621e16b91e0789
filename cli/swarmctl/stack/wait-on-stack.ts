import { CommandError, type Context, INTERRUPTED_EXIT_CODE } from '../commands/context.js';
import { watchThroughOutages } from '../commands/wait.js';
import { Convergence, type Outcome, ProgressDisplay, type ProgressLine } from '../progress/index.js';
import { goDuration } from '../table/human.js';

export interface StackWaitOptions {
  /** How long nothing in the stack may get on; 0: for ever. */
  timeoutMs: number;
  quiet: boolean;
}

/** One service that is waited for. */
interface Awaited {
  name: string;
  convergence: Convergence;
  outcome: Outcome | undefined;
  /** When to look at it again, should it not change before. */
  againAtMs: number;
}

/**
 * Shows how all services of a stack converge, a line for each, until all have.
 *
 * @param services  their ids by name
 * @throws CommandError that says which have not and why; with the exit code of an interrupt when Ctrl-C ended the waiting
 */
export async function waitOnStack(
  context: Context,
  stack: string,
  services: ReadonlyMap<string, string>,
  options: StackWaitOptions,
): Promise<void> {
  const wait = new StackWait(context, services, options);
  const end = await wait.run();
  const background = `Operation continuing in background.\nUse \`swarmctl stack ps ${stack}\` to check progress.`;
  if (end === 'interrupted') {
    context.terminal.out(`${background}\n`);
    throw new CommandError('', INTERRUPTED_EXIT_CODE);
  }
  const failures = wait.failures();
  if (failures.length === 0) return;
  const head = end === 'timed-out' ? `: nothing has got on for ${goDuration(options.timeoutMs * 1e6)}` : '';
  throw new CommandError(`stack ${stack} has not converged${head}\n${failures.join('\n')}\n${background}`);
}

class StackWait {
  readonly #services: Awaited[];
  readonly #display: ProgressDisplay;
  readonly #leave = new AbortController();
  /** Wakes the loop: something was heard, or the time has come. */
  #wake: () => void = () => {};
  #interrupted = false;
  #fault: unknown;

  constructor(
    readonly context: Context,
    readonly services: ReadonlyMap<string, string>,
    readonly options: StackWaitOptions,
  ) {
    const nowMs = context.clock.now();
    this.#display = new ProgressDisplay(context.terminal.isTty, context.terminal.width);
    this.#services = [...services.keys()].map((name) => ({
      name,
      convergence: new Convergence({ name, timeoutMs: 0, rollbackAsked: false, nowMs }),
      outcome: undefined,
      againAtMs: Number.POSITIVE_INFINITY,
    }));
  }

  async run(): Promise<'ended' | 'timed-out' | 'interrupted'> {
    const { clock, onInterrupt } = this.context;
    const stopListening = onInterrupt(() => {
      this.#interrupted = true;
      this.#wake();
    });
    try {
      for (const service of this.#services) void this.#watch(service);
      for (;;) {
        for (const service of this.#services) if (service.againAtMs <= clock.now()) this.#observe(service);
        if (this.#fault !== undefined) throw this.#fault;
        if (this.#interrupted) return 'interrupted';
        if (this.#services.every(({ outcome }) => outcome !== undefined)) return 'ended';
        const { timeoutMs } = this.options;
        // Patience is with the stack: a service may wait for another that gets on.
        const progressAtMs = Math.max(...this.#services.map(({ convergence }) => convergence.progressAtMs));
        const deadlineMs = timeoutMs === 0 ? Number.POSITIVE_INFINITY : progressAtMs + timeoutMs;
        if (clock.now() >= deadlineMs) return 'timed-out';
        await this.#sleepUntil(Math.min(deadlineMs, ...this.#services.map(({ againAtMs }) => againAtMs)));
      }
    } finally {
      stopListening();
      this.#leave.abort();
    }
  }

  /** Why each service that has not converged has not. */
  failures(): string[] {
    return this.#services.flatMap(({ name, outcome, convergence }) => {
      if (outcome?.kind === 'converged') return [];
      const reasons = convergence.reasons().map((reason) => `  ${reason}`);
      const head =
        outcome?.kind === 'failed' ? `service ${name}: ${outcome.message}` : `service ${name} has not converged:`;
      return [head, ...reasons];
    });
  }

  async #watch(service: Awaited): Promise<void> {
    const id = this.services.get(service.name) ?? service.name;
    try {
      for await (const { service: object, tasks, current } of watchThroughOutages(
        this.context,
        id,
        this.#leave.signal,
      )) {
        const ids = new Set(current);
        this.#observe(service, { service: object, tasks, isCurrent: ({ ID }) => ids.has(ID) });
        this.#wake();
        if (service.outcome !== undefined) return;
      }
    } catch (error) {
      if (this.#leave.signal.aborted) return;
      this.#fault = error;
      this.#wake();
    }
  }

  #observe(service: Awaited, snapshot?: Parameters<Convergence['observe']>[0]): void {
    if (service.outcome !== undefined) return;
    const nowMs = this.context.clock.now();
    const { lines, outcome, againAtMs } = service.convergence.observe(snapshot, nowMs);
    service.outcome = outcome;
    service.againAtMs = outcome === undefined ? againAtMs : Number.POSITIVE_INFINITY;
    for (const line of lines) this.#draw(service, line);
    if (outcome?.kind === 'failed') this.#write({ id: service.name, text: outcome.message.split('\n')[0] ?? '' });
  }

  /** Of each service one line, and one for what is wrong with it. */
  #draw({ name }: Awaited, line: ProgressLine): void {
    const isTask = !['overall progress', 'job progress', 'active tasks', 'verify', 'rollback', 'job'].includes(line.id);
    if (line.bar !== undefined || line.id === 'active tasks' || line.text.trim() === '') return;
    // That it is being verified is no news, second after second.
    const text = line.text.startsWith('Waiting ') ? 'verifying that tasks are stable' : line.text;
    this.#write({
      id: isTask ? `${name} ${line.id}` : name,
      text: line.id === 'verify' && text.endsWith('converged') ? 'converged' : text,
    });
  }

  #write(line: ProgressLine): void {
    const drawn = this.#display.render(line);
    if (drawn === '') return;
    if (!this.options.quiet) this.context.terminal.out(drawn);
  }

  #sleepUntil(atMs: number): Promise<void> {
    return new Promise((resolve) => {
      const { clock } = this.context;
      const timer = Number.isFinite(atMs) ? clock.after(Math.max(0, atMs - clock.now()), resolve) : undefined;
      this.#wake = () => {
        timer?.cancel();
        resolve();
      };
    });
  }
}
