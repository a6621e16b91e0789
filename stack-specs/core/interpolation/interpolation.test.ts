import fc from 'fast-check';
import t from 'tap';
import { expandTemplate, isFault } from './index.js';

const ENV: Record<string, string> = { A: 'a', EMPTY: '', B: 'b b' };
const lookup = (name: string) => ENV[name];

function expanded(template: string): string {
  const result = expandTemplate(template, lookup);
  return isFault(result) ? `! ${result.message}` : result.text;
}

t.test('every form of a variable means what the specification says', async (t) => {
  const dollar = '$';
  const cases: [string, string][] = [
    [`${dollar}A-${dollar}{A}`, 'a-a'],
    [`${dollar}${dollar}A`, '$A'],
    [`${dollar}{X:-d}|${dollar}{EMPTY:-d}|${dollar}{A:-d}`, 'd|d|a'],
    [`${dollar}{X-d}|${dollar}{EMPTY-d}|${dollar}{A-d}`, 'd||a'],
    [`${dollar}{X:+d}|${dollar}{EMPTY:+d}|${dollar}{A:+d}`, '||d'],
    [`${dollar}{X+d}|${dollar}{EMPTY+d}|${dollar}{A+d}`, '|d|d'],
    [`${dollar}{A:?e}|${dollar}{EMPTY?e}`, 'a|'],
    [`${dollar}{X:-${dollar}{Y:-${dollar}{A}}}`, 'a'],
    [`${dollar}{A:-${dollar}{X:?not asked}}`, 'a'],
    [`${dollar}{X:-a}b}`, 'ab}'],
    ['none', 'none'],
    [`${dollar}{X}`, ''],
    [`${dollar}{X?}`, '! required variable X is not set'],
    [`${dollar}{EMPTY:?why}`, '! required variable EMPTY is not set or is empty: why'],
    [`${dollar}{X:?${dollar}A}`, '! required variable X is not set or is empty: a'],
  ];
  for (const [template, text] of cases) t.equal(expanded(template), text, template);
});

t.test('what is no form of a variable is refused where it stands', async (t) => {
  const faulty = ['(date)', '', '1', '{', '{}', '{A', '{A!b}', '{1}', '{A:b}'].map((rest) => `a $${rest}`);
  for (const template of faulty) {
    const result = expandTemplate(template, lookup);
    t.ok(isFault(result) && result.offset === 2, template);
  }
});

t.test('variables without a value are told, but not those of a default that is not taken', async (t) => {
  const result = expandTemplate(['$X', '{A:-$Y}', '{Z:-$W}'].join('$'), lookup);
  t.same(isFault(result) ? undefined : result.unset, ['X', 'W']);
});

t.test('expanding never crashes and takes no longer than the text is long', async (t) => {
  const pieces = fc.constantFrom('$', '{', '}', ':', '-', '?', '+', 'A', 'X', ' ', '$$', '\n', 'é');
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 80 }), (parts) => {
      const result = expandTemplate(parts.join(''), lookup);
      return isFault(result) ? result.offset <= parts.join('').length : typeof result.text === 'string';
    }),
    { numRuns: 3000 },
  );
  t.match(expanded(`${'$'}{X:-`.repeat(100_000)), /nested more than/);
  t.equal(expanded('$A'.repeat(100_000)).length, 100_000);
});
