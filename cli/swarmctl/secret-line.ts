import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';

/** Asks for a line on stdin that is not shown while it is typed; without a terminal, takes the first line that comes. */
export async function readSecretLine(question: string): Promise<string> {
  const isTty = process.stdin.isTTY === true;
  if (isTty) process.stderr.write(question);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: isTty });
  try {
    for await (const line of lines) return line.trim();
    return '';
  } finally {
    lines.close();
    if (isTty) process.stderr.write('\n');
  }
}
