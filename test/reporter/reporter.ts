import { PassThrough, Writable } from 'node:stream';
import { Parser, type Result } from 'tap-parser';

/**
 * tap's reporter of this project: a line a test, the diagnosis of each that failed, and a last line that reads
 * `N passed, N failed` (with `, N skipped` behind it when there are any). A test is what a file calls `t.test` for.
 */
export default class Reporter extends Writable {
  readonly #out = new PassThrough();
  readonly #parser = new Parser();
  #passed = 0;
  #failed = 0;
  #skipped = 0;

  constructor() {
    super();
    this.#parser.on('child', (file: Parser) => this.#readFile(file));
    this.#parser.on('assert', (file: Result) => this.#endFile(file));
    this.#parser.on('bailout', (reason: string) => this.#fail(`bailed out: ${reason}`));
    this.#parser.on('complete', () => {
      const skipped = this.#skipped > 0 ? `, ${this.#skipped} skipped` : '';
      this.#out.end(`\n${this.#passed} passed, ${this.#failed} failed${skipped}\n`);
    });
  }

  /** tap pipes the reporter into its output; the report is what flows. */
  override pipe<T extends NodeJS.WritableStream>(destination: T): T {
    return this.#out.pipe(destination, { end: false });
  }

  override _write(chunk: Buffer | string, _encoding: BufferEncoding, done: () => void): void {
    this.#parser.write(chunk.toString());
    done();
  }

  override _final(done: () => void): void {
    this.#parser.end();
    done();
  }

  #tests = 0;
  #failedTests = 0;

  #readFile(file: Parser): void {
    this.#tests = 0;
    this.#failedTests = 0;
    this.#say(`\n${file.name}`);
    let current: Parser | undefined;
    const diagnoses: string[] = [];
    file.on('child', (test: Parser) => {
      current = test;
      diagnoses.length = 0;
      this.#collect(test, diagnoses);
    });
    file.on('assert', (result: Result) => {
      const isTest = current !== undefined && current.name === result.name;
      if (!isTest && result.ok && result.skip === false) return;
      this.#tests++;
      this.#tell(result, isTest ? diagnoses : [diagnosisOf(result)]);
      current = undefined;
    });
  }

  #collect(test: Parser, diagnoses: string[]): void {
    test.on('child', (inner: Parser) => this.#collect(inner, diagnoses));
    test.on('assert', (result: Result) => {
      if (!result.ok && result.todo === false && result.skip === false) diagnoses.push(diagnosisOf(result));
    });
  }

  #tell(result: Result, diagnoses: string[]): void {
    const time = result.time === null ? '' : ` (${Math.round(result.time)} ms)`;
    if (result.skip !== false) {
      this.#skipped++;
      this.#say(`  skip  ${result.name}: ${result.skip === true ? '' : result.skip}`);
    } else if (result.ok) {
      this.#passed++;
      this.#say(`  ok    ${result.name}${time}`);
    } else {
      this.#failedTests++;
      this.#fail(`${result.name}${time}`);
      for (const diagnosis of diagnoses) this.#say(diagnosis);
    }
  }

  /** A file that failed without a failed test: it crashed, timed out or ran none. */
  #endFile(file: Result): void {
    if (file.skip !== false) {
      if (this.#tests === 0) this.#tell(file, []);
    } else if (!file.ok && this.#failedTests === 0) {
      this.#fail(`${file.name} as a whole`);
      this.#say(diagnosisOf(file));
    } else if (file.ok && this.#tests === 0) {
      this.#fail(`${file.name} ran no test`);
    }
  }

  #fail(line: string): void {
    this.#failed++;
    this.#say(`  FAIL  ${line}`);
  }

  #say(line: string): void {
    this.#out.write(`${line}\n`);
  }
}

function diagnosisOf(result: Result): string {
  const diag: Record<string, unknown> = result.diag ?? {};
  const told = Object.entries(diag).filter(([key]) => !['at', 'stack', 'source'].includes(key));
  const detail = told.length === 0 ? '' : `\n${JSON.stringify(Object.fromEntries(told), undefined, 2)}`;
  const stack = typeof diag['stack'] === 'string' ? `\n${diag['stack'].trimEnd()}` : placeOf(diag['at']);
  return `${result.name}${detail}${stack}`.replace(/^/gm, '        ');
}

/** What failed without a stack has at least a place: what was awaited, for one. */
function placeOf(at: unknown): string {
  if (typeof at !== 'object' || at === null || !('fileName' in at) || !('lineNumber' in at)) return '';
  return `\n${at.fileName}:${at.lineNumber}`;
}
