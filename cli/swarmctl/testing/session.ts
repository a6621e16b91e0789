import { createClient } from '@apiary/api/client';
import { VirtualClock } from '@apiary/std';
import type { Test } from 'tap';
import { run } from '../app.js';
import { OWN_SURROUNDINGS } from '../surroundings.js';
import { type RecordedRequest, type Reply, startRecordingServer } from './recording-server.js';
import { answerOfSampleCluster, NOW } from './sample-cluster.js';

/** A command line over a daemon that answers by rote: what it asks and writes. */
export interface Session {
  /** Of the daemon, for a command line that is run as a program. */
  host: string;
  requests: RecordedRequest[];
  clock: VirtualClock;
  stdout: string;
  stderr: string;
  /** Runs words, or a line split at spaces; the exit code is the answer. */
  run(words: string | readonly string[]): Promise<number>;
  interrupt(): void;
  /** Resolves when what was written to stdout fits. */
  wrote(pattern: RegExp): Promise<void>;
}

/** @param answer  in place of the sample cluster's, where there is one */
export async function session(
  t: Test,
  answer: (request: RecordedRequest) => Reply | undefined = () => undefined,
): Promise<Session> {
  const server = await startRecordingServer((request) => answer(request) ?? answerOfSampleCluster(request));
  t.teardown(() => server.close());
  const clock = new VirtualClock(Date.parse(NOW));
  const handlers = new Set<() => void>();
  const waiters = new Set<() => void>();
  const current: Session = {
    host: server.host,
    requests: server.requests,
    clock,
    stdout: '',
    stderr: '',
    run: (words) =>
      run(typeof words === 'string' ? words.split(' ') : [...words], {
        terminal: {
          out: (text) => {
            current.stdout += text;
            for (const waiter of waiters) waiter();
          },
          err: (text) => {
            current.stderr += text;
          },
          isTty: false,
          isErrTty: false,
          width: 80,
        },
        clock,
        surroundings: OWN_SURROUNDINGS,
        canAsk: false,
        readSecretLine: async () => '',
        readShownLine: async () => '',
        onInterrupt: (handler) => {
          handlers.add(handler);
          return () => handlers.delete(handler);
        },
        version: '1.2.3',
        connect: (host) => createClient(host),
        defaultHost: server.host,
      }),
    interrupt: () => {
      for (const handler of handlers) handler();
    },
    wrote: (pattern) =>
      new Promise((resolve) => {
        const check = () => {
          if (!pattern.test(current.stdout)) return;
          waiters.delete(check);
          // What is still written in the same turn belongs to it.
          setImmediate(resolve);
        };
        waiters.add(check);
        check();
      }),
  };
  return current;
}
