import * as fc from 'fast-check';
import t from 'tap';
import { compileTemplate, structOf } from './index.js';

const row = structOf('*service.serviceContext', {
  Name: () => 'web',
  Replicas: () => '1/2',
  Ports: () => '',
  Self: () => true,
});
const object = {
  ID: 'x1',
  Spec: { Labels: { b: '2', a: '1' }, Env: ['A=1', 'B=2'], Count: 3, Ratio: 0.25, Off: false, Nothing: null },
  Ports: [{ Target: 80 }, { Target: 81 }],
};

/** What a template makes of `data`, or the message of its error. */
function outcome(source: string, data: unknown): string {
  try {
    return compileTemplate(source).render(data);
  } catch (error) {
    return `! ${error instanceof Error ? error.message : error}`;
  }
}

// Each answer is Go's: those over rows were compared with the docker command line, which docker-parity does again.
const GOLDEN: [string, unknown, string][] = [
  ['{{.Name}} {{.Replicas}}', row, 'web 1/2'],
  ['a {{- .Name -}} b', row, 'awebb'],
  ['a{{/* said to nobody */}}b', row, 'ab'],
  ['a {{- /* trimmed */ -}} b', row, 'ab'],
  ['{{json .}}', row, '{"Name":"web","Ports":"","Replicas":"1/2","Self":true}'],
  ['{{if .Ports}}p{{else if .Self}}s{{else}}n{{end}}', row, 's'],
  ['{{with .Ports}}{{.}}{{else with .Name}}[{{.}}]{{end}}', row, '[web]'],
  ['{{range split .Replicas "/"}}<{{.}}>{{else}}none{{end}}', row, '<1><2>'],
  ['{{range .Spec.Nothing}}x{{else}}none{{end}}', object, 'none'],
  ['{{range $k, $v := .Spec.Labels}}{{$k}}={{$v}};{{end}}', object, 'a=1;b=2;'],
  ['{{range $i, $p := .Ports}}{{$i}}:{{$p.Target}} {{end}}', object, '0:80 1:81 '],
  ['{{range .Ports}}{{if eq .Target 81}}{{break}}{{end}}{{.Target}}{{end}}', object, '80'],
  ['{{$x := 1}}{{range .Ports}}{{$x = .Target}}{{end}}{{$x}}', object, '81'],
  ['{{$x := 1}}{{with .ID}}{{$x := 2}}{{$x}}{{end}}{{$x}}', object, '21'],
  [
    '{{.Spec.Labels}} {{.Spec.Env}} {{.Spec.Ratio}} {{.Spec.Nothing}}',
    object,
    'map[a:1 b:2] [A=1 B=2] 0.25 <no value>',
  ],
  [
    '{{.Nope}}|{{if .Nope.Deeper}}x{{end}}',
    object,
    '! template: :1:20: executing "" at <.Nope.Deeper>: nil pointer evaluating interface {}.Deeper',
  ],
  ['{{index .Spec.Labels "a"}} {{(index .Ports 1).Target}} {{len .Spec.Env}}', object, '1 81 2'],
  ['{{.Spec.Env | join "," }}', object, '! template: :1:19: executing "" at <",">: expected []string; found ","'],
  [
    '{{join .Spec.Env ","}} {{.ID | printf "%5s|%-5s|%05d %.1f" "a" }}',
    object,
    'A=1,B=2     a|x1   |%!d(MISSING) %!f(MISSING)',
  ],
  ['{{and .ID .Spec.Off}} {{or .Spec.Off .ID}} {{not .ID}}', object, 'false x1 false'],
  ['{{or .ID (index .Ports 9)}}', object, 'x1'],
  ['{{eq .Spec.Count 1 2 3}} {{ne "a" "b"}} {{lt 1 2}} {{ge "a" "b"}}', object, 'true true true false'],
  ['{{"\\u0041\\n\\x42"}}{{`\\n`}}', object, 'A\nB\\n'],
  [
    '{{title "ab cd-ef"}} {{upper "a"}} {{lower "A"}} {{pad "x" 1 2}}. {{truncate "abcdef" 2}}',
    object,
    'Ab Cd-Ef A a  x  . ab',
  ],
  ['{{-3}} {{1e3}} {{0x10}} {{true}}', object, '-3 1000 16 true'],
  ['{{println "a" 1}}{{print "a" 1 2 "b"}}', object, 'a 1\na1 2b'],
  [
    'line\n{{.Nope}}',
    row,
    '! template: :2:2: executing "" at <.Nope>: can\'t evaluate field Nope in type *service.serviceContext',
  ],
  [
    '{{.Name.First}}',
    row,
    '! template: :1:7: executing "" at <.Name.First>: can\'t evaluate field First in type string',
  ],
  ['{{.Name', row, '! template: :1: unclosed action'],
  ['{{if .Name}}', row, '! template: :1: unexpected EOF'],
  ['{{end}}', row, '! template: :1: unexpected {{end}}'],
  ['{{nope}}', row, '! template: :1: function "nope" not defined'],
  ['{{$x}}', row, '! template: :1: undefined variable "$x"'],
  ['{{with $x := .Name}}{{end}}{{$x}}', row, '! template: :1: undefined variable "$x"'],
  ['{{break}}', row, '! template: :1: {{break}} outside {{range}}'],
  ['{{template "x"}}', row, '! template: :1: {{template}} is not supported: there are no templates within templates'],
  ['{{/* open', row, '! template: :1: unclosed comment'],
  ['{{1 | 2}}', row, '! template: :1: non executable command in pipeline stage 2'],
  ['{{nil}}', row, '! template: :1:2: executing "" at <nil>: nil is not a command'],
  ['{{len 5}}', row, '! template: :1:2: executing "" at <len 5>: error calling len: len of type int'],
];

t.test('a template gives what Go gives, or fails in its words', async (t) => {
  for (const [source, data, expected] of GOLDEN) t.equal(outcome(source, data), expected, source);
});

t.test('a heading is left alone by the functions that shape text', async (t) => {
  const template = compileTemplate('{{upper .Name}} {{json .Mode}} {{truncate .Name 2}} {{if .Self}}*{{end}}');
  t.equal(template.renderHeadings({ Name: 'Name', Mode: 'MODE', Self: '' }), 'Name MODE Name ');
});

t.test('text without actions stays as it is, and JSON comes out as it went in', async (t) => {
  fc.assert(
    fc.property(
      fc.string().filter((text) => !text.includes('{{')),
      (text) => outcome(text, {}) === text,
    ),
  );
  fc.assert(
    fc.property(fc.json(), (text) => {
      const value: unknown = JSON.parse(text);
      t.same(JSON.parse(outcome('{{json .}}', value)), value);
    }),
  );
});

t.test('whatever is written, the answer is a text or an error of the template', async () => {
  const words = [
    '{{',
    '}}',
    '{{-',
    '-}}',
    '.Name',
    ' ',
    'if',
    'range',
    'end',
    'else',
    '|',
    '(',
    ')',
    '$x',
    ':=',
    '"a"',
    '5',
    'len',
    'with',
    ',',
    '.',
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...words), { maxLength: 14 }), (parts) => {
      try {
        return typeof compileTemplate(parts.join('')).render(row) === 'string';
      } catch (error) {
        return error instanceof Error && error.name === 'TemplateError';
      }
    }),
    { numRuns: 3000 },
  );
});
