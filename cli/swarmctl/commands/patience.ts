import { ApiaryError } from '@apiary/std';
import { ProgressDisplay, type ProgressLine } from '../progress/index.js';
import { goDuration } from '../table/human.js';
import { CommandError, type Context, INTERRUPTED_EXIT_CODE } from './context.js';

/** How far something is that the cluster does by and by. */
export interface Stage {
  isDone: boolean;
  /** Changes whenever it gets on: every change moves the end of patience on. */
  mark: string;
  line: ProgressLine;
  /** What is still to come, and what keeps it. */
  left(): Promise<string[]>;
}

export interface PatienceOptions {
  /** How long nothing may get on before it is given up; 0: for ever. */
  timeoutMs: number;
  quiet: boolean;
  /** What is waited for, as in `WHAT has not ended`. */
  what: string;
  /** How to see how far it is, once nobody waits any more. */
  background: string;
}

const LOOK_AGAIN_MS = 300;

/**
 * Asks again and again how far something is, shows it, and returns when it is done. A daemon that is away for a while is
 * asked again.
 *
 * @throws CommandError that says what is left when nothing gets on any more; with the exit code of an interrupt when
 *   Ctrl-C ended the waiting; whatever `look` throws but `unavailable`
 */
export async function waitUntilDone(
  context: Context,
  look: () => Promise<Stage>,
  { timeoutMs, quiet, what, background }: PatienceOptions,
): Promise<void> {
  const { clock, terminal } = context;
  const display = new ProgressDisplay(terminal.isTty, terminal.width);
  let stage: Stage | undefined;
  let gotOnAtMs = clock.now();
  for (;;) {
    const next = await lookOnce(look);
    if (next !== undefined) {
      if (next.mark !== stage?.mark) gotOnAtMs = clock.now();
      stage = next;
      if (!quiet) terminal.out(display.render(stage.line));
      if (stage.isDone) return;
    }
    if (timeoutMs > 0 && clock.now() - gotOnAtMs >= timeoutMs) {
      const left = stage === undefined ? ['nothing was heard of it'] : await stage.left();
      const after = goDuration(timeoutMs * 1e6);
      throw new CommandError(
        `${what}: nothing has got on for ${after}\n${left.map((text) => `  ${text}\n`).join('')}${background}`,
      );
    }
    if (await isInterrupted(context)) {
      terminal.out(`${background}\n`);
      throw new CommandError('', INTERRUPTED_EXIT_CODE);
    }
  }
}

async function lookOnce(look: () => Promise<Stage>): Promise<Stage | undefined> {
  try {
    return await look();
  } catch (error) {
    if (error instanceof ApiaryError && error.code === 'unavailable') return undefined;
    throw error;
  }
}

/** Waits until it is time to look again. @returns whether Ctrl-C came before that */
function isInterrupted({ clock, onInterrupt }: Context): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(LOOK_AGAIN_MS, () => {
      stopListening();
      resolve(false);
    });
    const stopListening = onInterrupt(() => {
      timer.cancel();
      stopListening();
      resolve(true);
    });
  });
}
