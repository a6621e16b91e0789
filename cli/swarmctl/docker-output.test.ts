import t from 'tap';
import { byJson, type Daemon, neutral, SideBySide, wordsOf } from './testing/side-by-side.js';

/** Side by side with the docker command line: what the two show of the same answers. */

const both = await SideBySide.open(t);
const skip = both.missing;

t.test('lists and pages are those of docker', { skip }, async (t) => {
  const lines = [
    'service ls',
    'service ls -q',
    'service ls --format json',
    'service ps web --no-trunc',
    'service ps web -q',
    'service ps web --no-resolve',
    'service ps web',
    'service inspect web',
    'service inspect web agent9 --format json',
    'node ls',
    'node ls -q',
    'node inspect self --pretty',
    'node inspect host10 --pretty',
    'node ps',
    'service ls --format raw',
    'service ls --format raw -q',
    'service ps web --format raw -q',
    'node ls --format raw',
    'node ls --format raw -q',
    'node ps --format raw -q',
    'node ps -q',
    'node ps -q --no-trunc',
    'service scale -d web=5',
  ];
  for (const line of lines) {
    // Docker reads the ages off the real clock, ours is given one.
    const aged = /ps web$|ps web --no|node ps$/.test(line);
    await both.compare(t, wordsOf(line), { output: !aged && !line.startsWith('service inspect') });
  }
  for (const words of [
    ['service', 'inspect', 'web'],
    ['node', 'inspect', 'host9'],
  ]) {
    const [ours, other] = await Promise.all([both.swarmctl(words), both.docker(words)]);
    t.same(JSON.parse(ours.stdout), JSON.parse(other.stdout));
    t.equal(ours.stdout.split('\n')[3], other.stdout.split('\n')[3], 'indented in the same way');
  }
  const withoutAges = (text: string) =>
    text.replaceAll(/ {2,}/g, '  ').replaceAll(/(?<=Running|Failed) .*? ago */g, ' ');
  for (const line of ['service ps web', 'service ps web --format raw', 'node ps --format raw']) {
    const [ours, other] = await Promise.all([both.swarmctl(wordsOf(line)), both.docker(wordsOf(line))]);
    t.equal(withoutAges(ours.stdout), withoutAges(other.stdout), line);
  }
  const page = ['service', 'inspect', '--pretty', 'web'];
  t.equal((await both.swarmctl(page)).stdout, (await both.docker(page)).stdout);
});

t.test('templates give what docker gives', { skip }, async (t) => {
  const templates = [
    '{{.Name}}',
    'table {{.Name}}\\t{{.Mode}}',
    'table {{upper .Name}}\\t{{.Replicas | lower}}\\t{{.Ports}}',
    'table',
    '{{json .}}',
    '{{json .Name}}',
    '{{.Name | printf "%-10s|"}}',
    '{{printf "%q %v %d%%" .Name .ID 5}}',
    '{{if eq .Mode "global"}}G{{else if .Ports}}P{{else}}R{{end}}',
    '{{with .Ports}}{{.}}{{else}}none{{end}}',
    '{{range $i, $p := split .Replicas "/"}}{{if $i}} of {{end}}{{$p}}{{end}}',
    '{{range split .Name "e"}}<{{.}}>{{end}}',
    '{{$x := .Name}}{{$x}}-{{$.ID}}',
    '{{$x := "a"}}{{if true}}{{$x = "b"}}{{end}}{{$x}}',
    '{{- .Name -}}  x  {{- /* comment */ -}}  y',
    '{{len .Name}} {{index (split .Replicas "/") 1}}',
    '{{and .Name .Ports}}|{{or .Ports "none"}}|{{not .Ports}}',
    '{{truncate .Name 2}} {{pad .Name 1 2}}. {{title .Mode}} {{join (split .Name "e") "-"}}',
    '{{(split .Replicas "/")}}',
    '{{println .Name 1 2.5 true}}',
    '{{print 1 2 "x" 3}}',
    '{{lt 1 2}} {{ge "b" "a"}} {{ne 1 2}} {{eq .Name "x" "web"}}',
    '{{range $x := split .Name "e"}}{{if eq $x "b"}}{{break}}{{end}}{{continue}}{{end}}.',
    '{{`raw "text"`}} {{"quo\\"ted"}}',
    '{{.Nope}}',
    '{{.Name.Nope}}',
    'table {{.Nope}}',
    '{{.Name',
    '{{nope .Name}}',
    '{{if .Name}}',
    '{{end}}',
    '{{else}}',
    '{{}}',
    '{{.Name | }}',
    '{{$nope}}',
    '{{if}}x{{end}}',
    '{{index .Name "x"}}',
    '{{index (split .Name "e") 9}}',
    '{{lt .Name 1}}',
    '{{upper 1}}',
    '{{join .Name ","}}',
    '{{len 5}}',
    '{{range .Mode}}x{{end}}',
    '{{"unterminated}}',
    '{{printf "%d" .Name}}',
    '{{lower}}',
    '{{eq .Name 1}}',
  ];
  for (const template of templates) await both.compare(t, ['service', 'ls', '--format', template]);
  const ofObjects = [
    '{{.Spec.Name}} {{.Spec.TaskTemplate.ContainerSpec.Image}}',
    '{{json .Spec.Labels}}',
    '{{.Spec.Labels}}',
    '{{index .Spec.Labels "tier"}}|{{.Spec.Labels.zone}}|{{.Spec.Labels.nope}}',
    '{{range $k, $v := .Spec.Labels}}{{$k}}={{$v}};{{end}}',
    '{{range .Spec.TaskTemplate.ContainerSpec.Env}}{{println .}}{{end}}',
    '{{.Spec.TaskTemplate.ContainerSpec.Hostname}}|{{.Spec.TaskTemplate.ContainerSpec.TTY}}|{{.Spec.TaskTemplate.ForceUpdate}}',
    '{{len .Spec.TaskTemplate.ContainerSpec.Mounts}} {{(index .Spec.TaskTemplate.ContainerSpec.Mounts 1).Target}}',
    '{{if .UpdateStatus}}yes{{else}}no{{end}}',
    '{{.Version.Index}} {{.ID}}',
  ];
  for (const template of ofObjects) await both.compare(t, ['service', 'inspect', '--format', template, 'web']);
});

t.test('logs are asked for and shown as docker does', { skip }, async (t) => {
  const lines = [
    'service logs web',
    'service logs --raw web',
    'service logs -t --tail 2 web',
    'service logs -n 1 --raw -t web',
    'service logs --no-trunc --no-resolve web',
    'service logs --no-task-ids --details web',
    'service logs --details --raw web',
    'service logs --follow --since 2013-01-02T13:23:37Z web',
    'service logs --since 2013-01-02T13:23 --raw web',
    'service logs --since 2013-01-02T13:23:37.5+02:00 web',
    'service logs --since 2013-01-02 web',
    'service logs --since 1136073600.000000001 --raw web',
    'service logs --since yesterday web',
    'service logs aavd36hjmg3cw9fhrmlbd85p',
    'service logs nope',
    'service logs',
    'service logs a b',
  ];
  for (const line of lines) {
    await both.compare(t, wordsOf(line));
    const asked = ({ requests }: Daemon) =>
      requests
        .filter(({ path }) => path.endsWith('/logs'))
        // What was kept of tasks that are gone is asked for by ours alone.
        .filter(({ path }) => !path.includes('nope'))
        .map(({ path, query: { kept: _, ...query } }) => ({ path, query }));
    t.same(asked(both.ours), asked(both.theirs), line);
  }
});

t.test('events are asked for and shown as docker does', { skip }, async (t) => {
  const lines = [
    'events',
    'events --format json',
    'events --since 2013-01-02T13:23:37Z --until 1136073600.000000001',
    'events -f type=service -f type=node --filter service=web',
    'events --since yesterday',
    'events --filter service',
    'events --format {{.Nope}}',
    'events --format {{.Name',
    'events web',
  ];
  const templates = [
    '{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}} {{.Scope}} {{.Time}} {{.TimeNano}}',
    '{{json .Actor}}|{{.ID}}|{{.Status}}|{{.From}}',
    '{{json .}}',
  ];
  const all = [...lines.map(wordsOf), ...templates.map((template) => ['events', '--format', template])];
  for (const words of all) {
    await both.compare(t, words);
    const asked = ({ requests }: Daemon) =>
      requests
        .filter(({ path }) => path === '/events')
        .map(({ query: { filters, ...query } }) => ({
          ...query,
          filters: Object.entries(JSON.parse(filters ?? '{}'))
            .map(([key, values]) => [key, Array.isArray(values) ? values.sort() : Object.keys(values ?? {}).sort()])
            .sort(byJson),
        }));
    t.same(asked(both.ours), asked(both.theirs), words.join(' '));
  }
});

/** Flags that Docker has not. */
const OURS: Record<string, RegExp> = { 'node demote': /--force/, 'node update': /--wait|--quiet/ };

t.test('the help of a flag is that of docker', { skip }, async (t) => {
  const commands = {
    config: ['create', 'inspect', 'ls', 'rm'],
    secret: ['create', 'inspect', 'ls', 'rm'],
    service: ['create', 'update', 'logs', 'ls', 'ps', 'inspect', 'rm', 'scale'],
    network: ['create', 'inspect', 'ls', 'prune', 'rm'],
    node: ['demote', 'inspect', 'ls', 'promote', 'ps', 'rm', 'update'],
    swarm: ['init', 'join', 'join-token', 'leave', 'update'],
  };
  const pages = Object.entries(commands).flatMap(([group, names]) => names.map((name) => [group, name]));
  pages.push(['events']);
  for (const page of pages) {
    const words = [...page, '--help'];
    const command = page.join(' ');
    // Some of the flags of services are of a later API.
    both.apiVersion = page[0] === 'service' ? '1.48' : '1.41';
    const [ours, other] = await Promise.all([both.swarmctl(words), both.docker(words)]);
    const flagsOf = (text: string) =>
      new Map(
        text
          .split(/\n(?= {2,6}-)/)
          .slice(1)
          .map((block) => [block.split(/ {2,}/)[1] || block, folded(block)]),
      );
    const theirFlags = flagsOf(neutral(other.stdout));
    const names = (text: string) => new Set(text.match(/(?<=\s)--[a-z-]+/g));
    const ourNames = names(ours.stdout);
    const missing = [...names(other.stdout)].filter((name) => !ourNames.has(name));
    if (page[0] === 'service') t.same(missing, [], `${command}: every flag of docker`);
    for (const [flag, block] of flagsOf(ours.stdout)) {
      if (/--timeout|--mode/.test(block) || OURS[command]?.test(block) === true) continue;
      t.ok([...theirFlags.values()].includes(block), `${command}: ${flag}: ${block}`);
    }
    const [usage = '', , short] = ours.stdout.split('\n');
    const [theirUsage = '', , theirShort] = neutral(other.stdout).split('\n');
    // A demotion can be forced here.
    t.equal(command === 'node demote' ? usage.replace('[OPTIONS] ', '') : usage, theirUsage, 'usage');
    t.equal(short, theirShort);
  }
});

const folded = (text: string): string => text.trim().replaceAll(/\s+/g, ' ');
