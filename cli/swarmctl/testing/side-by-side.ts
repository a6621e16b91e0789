import type { Test } from 'tap';
import { type RecordedRequest, type RecordingServer, startRecordingServer } from './recording-server.js';
import { type ProgramResult, runProgram } from './run-program.js';
import { answerOfSampleCluster, SERVICE } from './sample-cluster.js';
import { type Session, session } from './session.js';

/** The words of both command lines made the same: their name, and the advice that each gives of itself. */
export const neutral = (text: string): string =>
  text.replaceAll(/\bdocker\b(?!\.)/g, 'swarmctl').replaceAll(/^See '(.*)' for more/gm, "Run '$1' for more");

/** What a daemon was asked. */
export interface Daemon {
  requests: readonly RecordedRequest[];
}

/** swarmctl beside the docker command line, each before a daemon of its own: the same words in, what came of them out. */
export class SideBySide {
  readonly ours: Session;
  readonly theirs: RecordingServer;
  /** That docker is told to speak. */
  apiVersion = '1.41';
  /** Why nothing can be compared. */
  missing: string | false = false;

  static async open(t: Test): Promise<SideBySide> {
    const theirs = await startRecordingServer(answerOfSampleCluster);
    t.teardown(() => theirs.close());
    const both = new SideBySide(await session(t), theirs);
    process.env['FROM_CALLER'] = 'yes';
    try {
      t.comment(`compared with ${(await both.docker(['--version'])).stdout}`);
    } catch {
      both.missing = 'there is no docker command line to compare with';
    }
    return both;
  }

  private constructor(ours: Session, theirs: RecordingServer) {
    this.ours = ours;
    this.theirs = theirs;
  }

  async swarmctl(words: readonly string[]): Promise<ProgramResult> {
    Object.assign(this.ours, { stdout: '', stderr: '' });
    const exitCode = await this.ours.run(words);
    const { stdout, stderr } = this.ours;
    return { exitCode, stdout, stderr };
  }

  docker(words: readonly string[]): Promise<ProgramResult> {
    return runProgram('docker', words, {
      DOCKER_API_VERSION: this.apiVersion,
      HOME: '/nonexistent',
      FROM_CALLER: 'yes',
      DOCKER_CLI_HINTS: 'false',
      DOCKER_HOST: this.theirs.host,
    });
  }

  /** Runs the same words through both, and compares the exit codes, the words and what was sent. */
  async compare(
    t: Test,
    words: readonly string[],
    options: { output?: boolean; errors?: boolean; normalised?: (body: unknown) => unknown } = {},
  ): Promise<void> {
    const { output = true, errors = true, normalised = inOrder } = options;
    const name = words.join(' ');
    this.ours.requests.length = 0;
    this.theirs.requests.length = 0;
    const [ours, other] = await Promise.all([this.swarmctl(words), this.docker(words)]);
    t.equal(ours.exitCode, other.exitCode, `${name}: exit code; ${ours.stderr}`);
    // Docker escapes what HTML minds in the JSON of a row, which is the same JSON.
    const plain = neutral(other.stdout).replaceAll('\\u003e', '>');
    if (output) t.equal(ours.stdout, plain, `${name}: output`);
    if (errors) t.equal(neutral(ours.stderr), neutral(other.stderr), `${name}: errors`);
    const sent = ({ requests }: Daemon) =>
      requests
        .filter(({ method }) => method === 'POST')
        .map(({ path, query, body }) => ({
          path: path.replace(SERVICE.ID, 'web'),
          query: inWords(query),
          body: normalised(body),
        }));
    t.same(sent(this.ours), sent(this.theirs), `${name}: requests`);
  }
}

const UNORDERED = new Set(['Env', 'Ports', 'Mounts', 'Config', 'Secrets', 'Configs', 'GenericResources']);

/** A body with what Go leaves to chance put in order, and the mounts that every update of docker sorts anew. */
export function inOrder(body: unknown): unknown {
  return JSON.parse(
    JSON.stringify(body ?? null, (key, value: unknown) =>
      key === 'Privileges'
        ? askedOf(value)
        : Array.isArray(value) && UNORDERED.has(key)
          ? [...value].sort(byJson)
          : value,
    ),
  );
}

/** Docker writes a flag of a query as a number at times, and what is not asked for as well. */
const inWords = (query: Record<string, string>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(query)
      .filter(([, value]) => value !== 'false')
      .map(([key, value]) => [key, key === 'force' ? 'true' : value]),
  );

/** A request without the values by which Docker says that nothing was asked for. */
export function askedOf(body: unknown): unknown {
  if (typeof body !== 'object' || body === null) return body;
  const asked = Object.entries(body)
    .map(([key, value]) => [key, askedOf(value)] as const)
    .filter(([key, value]) => !['', 0, false, null].includes(value as null) && !(key === 'SubnetSize' && value === 24))
    .filter(([, value]) => typeof value !== 'object' || Object.keys(value ?? {}).length > 0);
  return Array.isArray(body) ? asked.map(([, value]) => value) : Object.fromEntries(asked);
}

export const byJson = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

/** Splits a line as a shell would, for quotes. */
export function wordsOf(line: string): string[] {
  return (line.match(/(?:[^\s"]|"[^"]*")+/g) ?? []).map((word) =>
    word.startsWith('type=') ? word : word.replace(/^"(.*)"$/s, '$1'),
  );
}
