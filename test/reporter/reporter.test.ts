import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import t from 'tap';
import Reporter from './reporter.js';

async function report(tap: string): Promise<string> {
  const reporter = new Reporter();
  const out = new PassThrough();
  const read = text(out);
  reporter.pipe(out).on('unpipe', () => out.end());
  reporter.end(tap);
  return read;
}

const lastLine = (report: string): string | undefined => report.trimEnd().split('\n').at(-1);

t.test('tests are counted one by one, with those that were skipped and why', async (t) => {
  const seen = await report(`TAP version 14
# Subtest: a.test.js
    # Subtest: first
        ok 1 - fine
        1..1
    ok 1 - first # time=3ms
    ok 2 - second # SKIP not root
    1..2
ok 1 - a.test.js
1..1
`);
  t.match(seen, 'ok    first (3 ms)');
  t.match(seen, 'skip  second: not root');
  t.equal(lastLine(seen), '1 passed, 0 failed, 1 skipped');
});

t.test('a failed test is shown with what was found deep within it', async (t) => {
  const seen = await report(`TAP version 14
# Subtest: a.test.js
    # Subtest: outer
        # Subtest: inner
            not ok 1 - should be equal
              ---
              found: 1
              wanted: 2
              at:
                fileName: a.test.js
                lineNumber: 7
              ...
            1..1
        not ok 1 - inner
        1..1
    not ok 1 - outer
    1..1
not ok 1 - a.test.js
1..1
`);
  t.match(seen, 'FAIL  outer');
  t.match(seen, '"wanted": 2');
  t.match(seen, 'a.test.js:7');
  t.equal(lastLine(seen), '0 passed, 1 failed');
});

t.test('a file that crashes, and one that runs no test, count as failed', async (t) => {
  const crashed = await report(`TAP version 14
# Subtest: a.test.js
    # Subtest: first
        ok 1 - fine
        1..1
    ok 1 - first
    1..1
not ok 1 - a.test.js
  ---
  exitCode: 1
  ...
1..1
`);
  t.match(crashed, 'FAIL  a.test.js as a whole');
  t.equal(lastLine(crashed), '1 passed, 1 failed');
  const empty = await report(`TAP version 14
# Subtest: a.test.js
    1..0
ok 1 - a.test.js
1..1
`);
  t.equal(lastLine(empty), '0 passed, 1 failed');
});
