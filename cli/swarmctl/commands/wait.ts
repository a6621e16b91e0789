import { ApiError, type ServiceSnapshot } from '@apiary/api/client';
import { ApiaryError, type Clock } from '@apiary/std';
import { Convergence, type Outcome, ProgressDisplay, type Snapshot } from '../progress/index.js';
import { goDuration } from '../table/human.js';
import { CommandError, type Context, INTERRUPTED_EXIT_CODE } from './context.js';

export interface WaitOptions {
  timeoutMs: number;
  quiet: boolean;
  rollbackAsked?: boolean;
}

/** How long to wait before watching again when the connection was lost. */
const RECONNECT_MS = 500;

/**
 * Shows a service's progress until it has converged.
 *
 * @param service  as the user named it
 * @throws CommandError that says why it has not; with the exit code of an interrupt when Ctrl-C ended the waiting
 */
export async function waitOnService(context: Context, service: string, options: WaitOptions): Promise<void> {
  const { clock, terminal } = context;
  const display = new ProgressDisplay(terminal.isTty, terminal.width);
  const { timeoutMs, rollbackAsked = false } = options;
  const convergence = new Convergence({ name: service, timeoutMs, rollbackAsked, nowMs: clock.now() });
  const leave = new AbortController();
  try {
    const outcome = await follow(
      context,
      service,
      convergence,
      leave.signal,
      (text) => {
        if (!options.quiet) terminal.out(text);
      },
      display,
    );
    conclude(context, service, outcome, convergence, timeoutMs);
  } finally {
    leave.abort();
  }
}

type Event = { kind: 'snapshot'; snapshot: ServiceSnapshot } | { kind: 'time' } | { kind: 'interrupted' };

async function follow(
  context: Context,
  service: string,
  convergence: Convergence,
  signal: AbortSignal,
  write: (text: string) => void,
  display: ProgressDisplay,
): Promise<Outcome | 'interrupted'> {
  const snapshots = watchThroughOutages(context, service, signal);
  let next = snapshots.next();
  let againAtMs = convergence.observe(undefined, context.clock.now()).againAtMs;
  for (;;) {
    const event = await nextEvent(context, next, againAtMs);
    if (event.kind === 'interrupted') return 'interrupted';
    if (event.kind === 'snapshot') next = snapshots.next();
    const step = convergence.observe(
      event.kind === 'snapshot' ? snapshotOf(event.snapshot) : undefined,
      context.clock.now(),
    );
    for (const line of step.lines) write(display.render(line));
    if (step.outcome !== undefined) {
      // Nobody asks for the snapshot that is under way any more.
      next.catch(() => {});
      return step.outcome;
    }
    againAtMs = step.againAtMs;
  }
}

/** Whichever comes first: a snapshot, the time `atMs`, or Ctrl-C. */
function nextEvent(
  { clock, onInterrupt }: Context,
  next: Promise<IteratorResult<ServiceSnapshot, void>>,
  atMs: number,
): Promise<Event> {
  return new Promise((resolve, reject) => {
    const timer = Number.isFinite(atMs)
      ? clock.after(Math.max(0, atMs - clock.now()), () => settle(() => resolve({ kind: 'time' })))
      : undefined;
    const stopListening = onInterrupt(() => settle(() => resolve({ kind: 'interrupted' })));
    const settle = (how: () => void) => {
      timer?.cancel();
      stopListening();
      how();
    };
    next.then(
      (result) =>
        settle(() =>
          result.done === true
            ? reject(new CommandError('the service is gone'))
            : resolve({ kind: 'snapshot', snapshot: result.value }),
        ),
      (error: unknown) => settle(() => reject(error)),
    );
  });
}

/**
 * The service's snapshots, watching again after the connection was lost or the daemon restarted. Ends by an error only:
 * when the service is gone, or the daemon refuses.
 */
export async function* watchThroughOutages(
  { client, clock }: Context,
  service: string,
  signal: AbortSignal,
): AsyncGenerator<ServiceSnapshot, void, void> {
  for (let wasThere = false; !signal.aborted; ) {
    try {
      for await (const snapshot of client.watchService(service, signal)) {
        wasThere = true;
        yield snapshot;
      }
      // The stream ends when the service is removed, and when the daemon stops.
      await client.service(service);
    } catch (error) {
      if (signal.aborted) return;
      if (!wasThere && !(error instanceof ApiaryError && error.code === 'unavailable')) throw error;
      if (error instanceof ApiError && error.code === 'not-found') {
        throw new CommandError(`service ${service} was removed while it was waited for`);
      }
      if (!(error instanceof ApiaryError && error.code === 'unavailable')) throw error;
    }
    await pause(clock, RECONNECT_MS);
  }
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve);
  });
}

function snapshotOf({ service, tasks, current }: ServiceSnapshot): Snapshot {
  const ids = new Set(current);
  return { service, tasks, isCurrent: ({ ID: id }) => ids.has(id) };
}

function conclude(
  { terminal }: Context,
  service: string,
  outcome: Outcome | 'interrupted',
  convergence: Convergence,
  timeoutMs: number,
): void {
  const background = `Operation continuing in background.\nUse \`swarmctl service ps ${service}\` to check progress.`;
  if (outcome === 'interrupted') {
    terminal.out(`${background}\n`);
    throw new CommandError('', INTERRUPTED_EXIT_CODE);
  }
  if (outcome.kind === 'failed') throw new CommandError(outcome.message);
  if (outcome.kind === 'timed-out') {
    const reasons = convergence.reasons().map((reason) => `  ${reason}`);
    const after = goDuration(timeoutMs * 1e6);
    throw new CommandError(
      `service ${service} has not converged: nothing has got on for ${after}\n${reasons.join('\n')}\n${background}`,
    );
  }
}
