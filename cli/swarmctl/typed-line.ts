import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';

/** Asks for a line on stdin that is not shown while it is typed; without a terminal, takes the first line that comes. */
export async function readSecretLine(question: string): Promise<string> {
  const isTty = process.stdin.isTTY === true;
  if (isTty) process.stderr.write(question);
  try {
    return (await firstLine(isTty)).trim();
  } finally {
    if (isTty) process.stderr.write('\n');
  }
}

/** A line of stdin, which a terminal shows while it is typed; empty at the end of a pipe. */
export function readShownLine(): Promise<string> {
  return firstLine(false);
}

/** @param isSilent  takes over what a terminal does with keys, so that it shows none */
async function firstLine(isSilent: boolean): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: isSilent });
  try {
    for await (const line of lines) return line;
    return '';
  } finally {
    lines.close();
  }
}
