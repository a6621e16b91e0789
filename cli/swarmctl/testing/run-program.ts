import { spawn } from 'node:child_process';

export interface ProgramResult {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end. @throws when it cannot be started, which is how a missing one is told */
export function runProgram(
  file: string,
  args: readonly string[],
  environment: Record<string, string>,
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: { PATH: process.env['PATH'] ?? '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}
