import * as fc from 'fast-check';
import t from 'tap';
import {
  boolFlag,
  flagUsages,
  listFlag,
  parseBytes,
  parseCommandLine,
  parseCpus,
  parseDuration,
  parseUint,
  textFlag,
  valueFlag,
} from './index.js';

const name = textFlag('name', 'A name', { short: 'n' });
const loud = boolFlag('loud', 'Be loud', { short: 'l' });
const tty = boolFlag('tty', 'A terminal', { short: 't' });
const env = listFlag('env', 'Variables', (text) => text, { short: 'e' });
const count = valueFlag('count', 'How many', 'uint', parseUint);
const FLAGS = [name, loud, tty, env, count];

function parse(words: string, interspersed = true) {
  try {
    const { flags, args } = parseCommandLine(FLAGS, words.split(' '), interspersed);
    const given = FLAGS.filter((flag) => flags.changed(flag)).map((flag) => [flag.name, flags.get<unknown>(flag)]);
    return { ...Object.fromEntries(given), args: args.join(' ') };
  } catch (error) {
    return error instanceof Error ? error.message : error;
  }
}

t.test('a command line is read as pflag reads it', async (t) => {
  t.same(parse('--name=a --loud x'), { name: 'a', loud: true, args: 'x' });
  t.same(parse('--name a -l -- --tty'), { name: 'a', loud: true, args: '--tty' });
  t.same(parse('-lt -na -e 1 -e2 -e=3'), { loud: true, tty: true, name: 'a', env: ['1', '2', '3'], args: '' });
  t.same(parse('-ltn a'), { loud: true, tty: true, name: 'a', args: '' });
  t.same(parse('--loud=false -t=0 --name --loud'), { loud: false, tty: false, name: '--loud', args: '' });
  t.same(parse('a --loud - b'), { loud: true, args: 'a - b' });
  t.same(parse('--tty a --loud b', false), { tty: true, args: 'a --loud b' });
  t.same(parse('--name= x'), { name: '', args: 'x' });
  t.equal(parse('--nope'), 'unknown flag: --nope');
  t.equal(parse('-lx'), "unknown shorthand flag: 'x' in -x");
  t.equal(parse('--name'), 'flag needs an argument: --name');
  t.equal(parse('-ln'), "flag needs an argument: 'n' in -n");
  t.equal(parse('---x'), 'bad flag syntax: ---x');
  t.equal(
    parse('--count=-1'),
    'invalid argument "-1" for "--count" flag: strconv.ParseUint: parsing "-1": invalid syntax',
  );
  t.match(parse('--loud=maybe'), /^invalid argument "maybe" for "-l, --loud" flag/);
});

t.test('quantities are exact, or refused', async (t) => {
  const units: [string, number][] = [
    ['h', 3600e9],
    ['m', 60e9],
    ['s', 1e9],
    ['ms', 1e6],
    ['us', 1e3],
    ['ns', 1],
  ];
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(999), fc.constantFrom(...units)), { minLength: 1, maxLength: 4 }), (parts) => {
      const text = parts.map(([n, [unit]]) => `${n}${unit}`).join('');
      return parseDuration(text) === parts.reduce((sum, [n, [, scale]]) => sum + n * scale, 0);
    }),
  );
  t.equal(parseDuration('1.5h'), 5400e9);
  t.equal(parseDuration('-.5s'), -0.5e9);
  t.equal(parseDuration('0'), 0);
  fc.assert(
    fc.property(fc.nat(1_000_000_000), (billionths) => parseCpus((billionths / 1e9).toFixed(9)) === billionths),
  );
  t.equal(parseCpus('1/4'), 250_000_000);
  t.equal(parseCpus('1e-9'), 1);
  t.equal(parseBytes('1.5g'), 1.5 * 1024 ** 3);
  t.equal(parseBytes('10 MiB'), 10 * 1024 ** 2);
  t.equal(parseBytes('12b'), 12);
  const readers: [(text: string) => number, string[]][] = [
    [parseDuration, ['', '5', '1x', 's', '1s2', '.s', '999999999h']],
    [parseCpus, ['', 'x', '1/0', '0.0000000001', '1/3', '.', '1.5/2']],
    [parseBytes, ['', 'm', '1z', '1kbb', '-1', '1 2 m', '1..5k']],
    [parseUint, ['', '-1', '1.5', 'x', '9007199254740992', '1e3']],
  ];
  for (const [reader, words] of readers)
    for (const word of words) t.throws(() => reader(word), { name: 'FlagValueError' }, word);
});

t.test('the help wraps to the width of the terminal, and never loses a word', async (t) => {
  fc.assert(
    fc.property(fc.lorem({ maxCount: 40 }), fc.integer({ min: 20, max: 200 }), (usage, width) => {
      const text = flagUsages([textFlag('a-flag', usage), boolFlag('x', 'y', { short: 'x' })], width);
      t.equal(text.replaceAll(/\s+/g, ' ').trim(), `--a-flag string ${usage} -x, --x y`);
      // From 45 columns on there is room beside the flags.
      if (width >= 50) for (const line of text.split('\n')) t.ok(line.length < width, line);
    }),
    { numRuns: 50 },
  );
});
