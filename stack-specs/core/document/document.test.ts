import fc from 'fast-check';
import t from 'tap';
import { Diagnostics, diagnosticText, type Plain, plain, printYaml, readYaml, scalarText } from './index.js';

function read(text: string): { value: unknown; errors: string[] } {
  const diagnostics = new Diagnostics();
  const node = readYaml({ path: 'stack.yml', text }, diagnostics);
  return {
    value: node === undefined ? undefined : plainObject(plain(node)),
    errors: diagnostics.errors.map(diagnosticText),
  };
}

/** With ordinary prototypes, for comparing. */
function plainObject(value: Plain): unknown {
  if (Array.isArray(value)) return value.map(plainObject);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainObject(item)]));
}

t.test('plain scalars mean what they mean to Docker', async (t) => {
  const cases: [string, unknown][] = [
    ['42', 42],
    ['-7', -7],
    ['+3', 3],
    ['1.10', 1.1],
    ['0755', 493],
    ['0o17', 15],
    ['0xff', 255],
    ['0b11', 3],
    ['1_000', 1000],
    ['089', 89],
    ['9007199254740993', 9007199254740993n],
    ['yes', 'yes'],
    ['on', 'on'],
    ['n', 'n'],
    ['True', true],
    ['~', null],
    ['', null],
    ['22:22', '22:22'],
    ['1.2.3', '1.2.3'],
    ['2024-01-02', '2024-01-02'],
    ['"007"', '007'],
    ['!!str 7', '7'],
    ['1e3', 1000],
    ['.5', 0.5],
  ];
  for (const [text, value] of cases) t.same(read(`a: ${text}\n`), { value: { a: value }, errors: [] }, text);
});

t.test('numbers become text as Go prints them', async (t) => {
  const texts = [1.1, 1000, 0.00001, 1e21, 1.5e-7, 9007199254740993n, true, null].map(scalarText);
  t.same(texts, ['1.1', '1000', '1e-05', '1e+21', '1.5e-07', '9007199254740993', 'true', '']);
});

t.test('anchors are shared and merge keys give what the mapping does not say itself', async (t) => {
  const text = 'x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 0\n';
  t.same(read(text).value, { x: { a: 1, b: 2 }, y: { b: 3, c: 4 }, z: { a: 0, b: 2, c: 4 } });
  t.same(read('"<<": 1\n').value, { '<<': 1 }, 'in quotes it is a key like others');
});

t.test('what is wrong is said with its line, its column and a caret', async (t) => {
  const faults: [string, RegExp][] = [
    ['a: 1\nb: {c: 2\n', /^stack\.yml:\d+:\d+: error: /],
    ['a: 1\nb: 2\na: 3\n', /^stack\.yml:3:1: error: a: key "a" is already there on line 1\n {2}3 \| a: 3\n {4}\| \^$/],
    ['a: *nowhere\n', /no anchor "nowhere"/],
    ['a: &w\n  b: *w\n', /stack\.yml:2:6: .*anchor "w" contains itself/],
    ['1: a\n', /key 1 must be a string: put it in quotes/],
    ['x: &x [1]\ny:\n  <<: *x\n', /stack\.yml:3:3: .*merge key/],
    ['a: "b\u0000c"\n', /control character U\+0000/],
    ['? [a]\n: b\n', /a key must be text/],
  ];
  for (const [text, pattern] of faults) t.match(read(text).errors.join('\n'), pattern, JSON.stringify(text));
});

t.test('what unfolds, nests or goes on without end is refused in bounded time', async (t) => {
  const laughs = Array.from({ length: 30 }, (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : `*a${i - 1}, `.repeat(9)}]`);
  const bombs: [string, RegExp][] = [
    [laughs.join('\n'), /unfolds into more than/],
    ['['.repeat(500_000), /nested more than 100 levels|error/],
    [`a: ${'{a: '.repeat(101)}1${'}'.repeat(101)}`, /nested more than 100 levels/],
    [Array.from({ length: 200 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), /nested more than 100 levels/],
    ['- '.repeat(300_000), /nested more than 100 levels/],
    ['#'.repeat(4 * 1024 * 1024 + 1), /more than 4 MiB/],
  ];
  for (const [text, pattern] of bombs) {
    const startedAt = process.hrtime.bigint();
    t.match(read(text).errors.join('\n'), pattern, text.slice(0, 40));
    t.ok(process.hrtime.bigint() - startedAt < 8_000_000_000n, 'soon enough');
  }
});

t.test('only the first document counts', async (t) => {
  t.same(read('a: 1\n---\nb: [\n').value, { a: 1 });
});

t.test('what is printed is read as the same', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }).map((one) => one.replace(/[^\t\n\r\u0020-\u007e\u00a0-\ud7ff\ue000-\ufefe]/g, '')),
    fc.constantFrom(
      'yes',
      'no',
      '~',
      '1.0',
      '0755',
      '22:22',
      '<<',
      '- a',
      'a: b',
      '# c',
      '',
      ' ',
      'null',
      '*a',
      '&a',
      '!a',
      '2024-01-02',
    ),
  );
  const scalars = fc.oneof(
    text,
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc
      .double({ noDefaultInfinity: true, noNaN: true })
      .filter((one) => !Object.is(one, -0) && (!Number.isInteger(one) || Number.isSafeInteger(one))),
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ depthSize: 'small' }, scalars, tie('list'), tie('map')),
    list: fc.array(tie('tree'), { maxLength: 4 }),
    map: fc.dictionary(text, tie('tree'), { maxKeys: 4, noNullPrototype: true }),
  }));
  fc.assert(
    fc.property(tree, (value) => {
      const { value: again, errors } = read(printYaml(value as Plain));
      return errors.length === 0 && JSON.stringify(again) === JSON.stringify(value);
    }),
    { numRuns: 500 },
  );
});

t.test('reading never crashes, whatever the text', async () => {
  const pieces = fc.constantFrom(
    'a',
    ':',
    ' ',
    '\n',
    '- ',
    '{',
    '}',
    '[',
    ']',
    '&a ',
    '*a',
    '"',
    "'",
    '|',
    '>',
    '!',
    '<<',
    '#',
    ',',
    '?',
    '%',
    '\t',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 60 }), (parts) => {
      read(parts.join(''));
    }),
    { numRuns: 1000 },
  );
});
