import fc from 'fast-check';
import t from 'tap';
import { expandContent, type TemplateFacts } from '../index.js';

const FACTS: TemplateFacts = {
  service: { id: 'service', name: 'web', labels: { c: 'x y', a: '1', b: 'two' } },
  node: { id: 'node', hostname: '', architecture: '', os: '' },
  task: { id: 'task', name: 'web.1.task', slot: 1 },
};
const ENV = new Map([['MODE', 'prod']]);
const gone = (kind: string, target: string): never => {
  throw new Error(`${kind} target ${target} not found`);
};
const FUNCTIONS = {
  secret: (target: string) => (target === 'sec' ? 'sec"ret\n' : gone('secret', target)),
  config: (target: string) => gone('config', target),
  env: (name: string) => ENV.get(name) ?? '',
};

function expand(text: string, labels = FACTS.service.labels): string {
  const bytes = Buffer.from(text).toString('latin1');
  const facts = { ...FACTS, service: { ...FACTS.service, labels } };
  return Buffer.from(expandContent(bytes, facts, FUNCTIONS), 'latin1').toString();
}

/** What Docker 20.10 made of the same configs. */
const EXPANDED: [string, string][] = [
  ['{{if .Service.Labels.a}}yes{{else}}no{{end}}', 'yes'],
  ['{{range $k, $v := .Service.Labels}}{{$k}}={{$v}};{{end}}', 'a=1;b=two;c=x y;'],
  ['{{range .Service.Labels}}<{{.}}>{{else}}none{{end}}', '<1><two><x y>'],
  ['{{with .Service.Labels.a}}[{{.}}]{{end}}', '[1]'],
  ['{{index .Service.Labels "nope"}}|', '|'],
  ['{{if index .Service.Labels "nope"}}x{{else}}y{{end}}', 'y'],
  ['{{$x := .Service.Name}}{{printf "%s-%d-%q-%v" "a" 3 $x 2.5}}', 'a-3-"web"-2.5'],
  [
    '{{eq .Service.Name "web"}} {{ne 1 2}} {{lt 1 2}} {{and 1 0 2}} {{or 0 "" "x"}} {{not true}}',
    'true true true 0 x false',
  ],
  ['{{join "," "a" "b" "c"}}', 'a,b,c'],
  ['{{join ","}}', ''],
  ['{{env "MODE"}}|{{env "NOPE"}}|{{env "EMPTY"}}|{{env "X"}}', 'prod|||'],
  ['{{secret "sec"}}|{{secret "sec" | printf "%q"}}', 'sec"ret\n|"sec\\"ret\\n"'],
  [
    '{{len .Service.Name}} {{len "hé"}} {{slice "abcdef" 1 3}} {{html "<a>"}} {{js "it\'s"}} {{urlquery "a b&c"}}',
    "3 3 bc &lt;a&gt; it\\'s a+b%26c",
  ],
  ['a {{- /* c */ -}} b {{- " " }}x\n{{- if true}}\n y\n{{- end}}\n', 'ab x\n y\n'],
  [
    '{{.Task.Slot}} {{.Node.Hostname}} {{.Node.Platform.OS}} {{.Node.Platform.Architecture}} {{.Service.Labels}} {{.Node}}',
    '1    map[a:1 b:two c:x y] {node  { }}',
  ],
  ['{{range .Service.Labels}}{{if eq . "two"}}{{continue}}{{end}}{{.}},{{end}}', '1,x y,'],
  [
    '{{printf "%d" "x"}} {{printf "%s"}} {{printf "%s" "a" "b"}} {{printf "%5.1f|%-4s|%04d|%x|%X|%t|%T" 2.25 "ab" 7 255 "hi" true "s"}}',
    '%!d(string=x) %!s(MISSING) a%!(EXTRA string=b)   2.2|ab  |0007|ff|6869|true|string',
  ],
  ['{{println "a" 1}}{{print 1 2 "a" 3}}', 'a 1\n1 2a3'],
  ['{{index .Service.Labels}}', 'map[a:1 b:two c:x y]'],
  ['{{index .Service.Name 0}}', '119'],
  ['{{if and .Service.Labels.a (eq .Service.Labels.b "two")}}both{{end}}', 'both'],
  ['{{if not (eq .Service.Name "x")}}n{{else if true}}m{{end}}', 'n'],
  ['{{with $x := .Service}}{{$x.Name}} {{.Name}}{{end}}', 'web web'],
  ['{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}', '2'],
  ['{{$.Service.Name}}', 'web'],
  ['{{.Service.Labels.a | printf "%s!" | len}}', '2'],
  ['{{(index .Service.Labels "a") | eq "1"}}', 'true'],
  ['{{"\\u00e9\\x41\\n"}}|{{`raw\\n`}}', 'éA\n|raw\\n'],
];

const FAULTS: [string, string][] = [
  [
    '{{with .Service.Labels.nope}}x{{end}}',
    '1:15: executing "expansion" at <.Service.Labels.nope>: map has no entry for key "nope"',
  ],
  [
    '{{if .Service.Labels.nope}}x{{end}}',
    '1:13: executing "expansion" at <.Service.Labels.nope>: map has no entry for key "nope"',
  ],
  [
    '{{join}}',
    '1:2: executing "expansion" at <join>: error calling join: runtime error: slice bounds out of range [1:0]',
  ],
  ['{{join "," 1}}', '1:11: executing "expansion" at <1>: expected string; found 1'],
  [
    '{{range $i, $c := .Service.Name}}{{$i}}{{end}}',
    '1:26: executing "expansion" at <.Service.Name>: range can\'t iterate over web',
  ],
  ['{{range 3}}x{{end}}', '1:8: executing "expansion" at <3>: range can\'t iterate over 3'],
  ['{{break}}', '1: {{break}} outside {{range}}'],
  ['{{if .Service.Labels.a}}x', '1: unexpected EOF'],
  ['{{end}}', '1: unexpected {{end}}'],
  ['{{else}}', '1: unexpected {{else}}'],
  ['{{if}}x{{end}}', '1: missing value for if'],
  ['{{$y}}', '1: undefined variable "$y"'],
  ['{{eq 1 "1"}}', '1:2: executing "expansion" at <eq 1 "1">: error calling eq: incompatible types for comparison'],
  [
    '{{.Service.Name.Foo}}',
    '1:10: executing "expansion" at <.Service.Name.Foo>: can\'t evaluate field Foo in type string',
  ],
  [
    '{{.Node.Labels}}',
    '1:7: executing "expansion" at <.Node.Labels>: can\'t evaluate field Labels in type struct { ID string; Hostname string; Platform template.Platform }',
  ],
  ['{{len 3}}', '1:2: executing "expansion" at <len 3>: error calling len: len of type int'],
  ['{{index 1 2}}', '1:2: executing "expansion" at <index 1 2>: error calling index: can\'t index item of type int'],
  [
    '{{.Task.Networks}}',
    '1:7: executing "expansion" at <.Task.Networks>: can\'t evaluate field Networks in type struct { ID string; Name string; Slot string }',
  ],
  ['{{1.5}} {{-3}} {{1e3}} {{0x1F}} {{true}} {{nil}}', '1:43: executing "expansion" at <nil>: nil is not a command'],
  ['{{nil}}', '1:2: executing "expansion" at <nil>: nil is not a command'],
  ['{{secret}}', '1:2: executing "expansion" at <secret>: wrong number of args for secret: want 1 got 0'],
  ['{{secret 1}}', '1:9: executing "expansion" at <1>: expected string; found 1'],
  [
    '{{config "nope"}}',
    '1:2: executing "expansion" at <config "nope">: error calling config: config target nope not found',
  ],
];

t.test('a template becomes what it does with Docker', async (t) => {
  for (const [text, expected] of EXPANDED) t.equal(expand(text), expected, text);
});

t.test('a template that fails says so in the words of Docker', async (t) => {
  for (const [text, fault] of FAULTS) {
    const message = `template: expansion:${fault}`;
    t.throws(() => expand(text), { code: 'invalid-argument', message }, text);
  }
});

t.test('templates within templates are refused', async (t) => {
  for (const text of ['{{define "T"}}x{{end}}', '{{template "T"}}', '{{block "T" .}}x{{end}}']) {
    t.throws(() => expand(text), { message: /is not supported: there are no templates within templates/ }, text);
  }
});

t.test('what a template may do is bounded', async (t) => {
  const many = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`l${i}`, 'x']));
  const nested = (levels: number) => `${'{{range $.Service.Labels}}'.repeat(levels)}y${'{{end}}'.repeat(levels)}`;
  t.equal(expand(nested(2), many).length, 40_000);
  t.throws(() => expand(nested(9), many), { message: /it takes more than 1000000 steps/ });
  t.throws(() => expand('{{range .Service.Labels}}{{printf "%100000d" 1}}{{end}}', many), {
    message: /it expands to more than 4194304 bytes/,
  });
  t.throws(
    () =>
      expand(`{{range .Service.Labels}}{{range $.Service.Labels}}{{$x := printf "%1000000d" 1}}{{end}}{{end}}`, many),
    { message: /steps/ },
  );
  t.match(expand('{{printf "%1000001d" 1}}'), /^%!\(NOVERB\)/);
  t.throws(() => expand(`{{${'('.repeat(100_000)}`), { message: /levels deep|unclosed/ });
  t.throws(() => expand('{{if true}}'.repeat(50_000)), { message: /levels deep/ });
});

/** A dumb oracle: what a few shapes of templates come to, written out. */
interface Piece {
  text: string;
  meaning: (labels: Record<string, string>) => string;
}
const word = fc.stringMatching(/^[a-z0-9 ]{0,6}$/);
const leaf: fc.Arbitrary<Piece> = fc.oneof(
  word.map((text) => ({ text, meaning: () => text })),
  fc.constantFrom('a', 'b').map((key) => ({
    text: `{{index .Service.Labels "${key}"}}`,
    meaning: (labels: Record<string, string>) => labels[key] ?? '',
  })),
  word.map((text) => ({ text: `{{printf "%s!" "${text}"}}`, meaning: () => `${text}!` })),
  fc.tuple(word, word).map(([x, y]) => ({ text: `{{eq "${x}" "${y}"}}`, meaning: () => String(x === y) })),
  fc.constant({ text: '{{/* no more */}}', meaning: () => '' }),
  fc.constant({
    text: '{{range $k, $v := .Service.Labels}}{{$k}}:{{$v}},{{else}}none{{end}}',
    meaning: (labels: Record<string, string>) => {
      const all = Object.keys(labels)
        .sort()
        .map((key) => `${key}:${labels[key]},`);
      return all.length === 0 ? 'none' : all.join('');
    },
  }),
);
const { piece } = fc.letrec<{ piece: Piece }>((tie) => ({
  piece: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.tuple(tie('piece'), tie('piece')).map(([one, two]) => ({
      text: one.text + two.text,
      meaning: (labels: Record<string, string>) => one.meaning(labels) + two.meaning(labels),
    })),
    fc.tuple(fc.constantFrom('a', 'b'), tie('piece'), tie('piece')).map(([key, yes, no]) => ({
      text: `{{if index .Service.Labels "${key}"}}${yes.text}{{else}}${no.text}{{end}}`,
      meaning: (labels: Record<string, string>) => ((labels[key] ?? '') === '' ? no : yes).meaning(labels),
    })),
  ),
}));

t.test('branches, ranges and functions mean what they say', async () => {
  const labels = fc.dictionary(fc.constantFrom('a', 'b', 'c'), word);
  fc.assert(
    fc.property(piece, labels, (given, all) => expand(given.text, all) === given.meaning(all)),
    { numRuns: 500 },
  );
});
