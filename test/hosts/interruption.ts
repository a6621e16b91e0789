const PARENT_CHECK_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interruption {
  /** Resolves at the first Ctrl-C, SIGTERM or SIGHUP. */
  happened: Promise<void>;
  /** Gives the signals back. */
  stop: () => void;
}

/**
 * Takes over the signals that ask a program to end, and keeps this process alive until `stop()`. The end of standard
 * input is no interruption.
 *
 * npm that is killed -9 cannot pass on a signal: when it started this process, its end counts as one.
 */
export function watchInterruption(): Interruption {
  const parent = process.ppid;
  const underNpm = process.env['npm_lifecycle_event'] !== undefined;
  const { promise, resolve } = withResolver();
  const watch = setInterval(() => {
    if (underNpm && process.ppid !== parent) resolve();
  }, PARENT_CHECK_MS);
  for (const name of SIGNALS) process.on(name, resolve);
  const stop = () => {
    clearInterval(watch);
    for (const name of SIGNALS) process.off(name, resolve);
  };
  return { happened: promise, stop };
}

function withResolver(): { promise: Promise<void>; resolve: () => void } {
  let settle: (() => void) | undefined;
  const promise = new Promise<void>((resolve) => {
    settle = resolve;
  });
  return { promise, resolve: () => settle?.() };
}
