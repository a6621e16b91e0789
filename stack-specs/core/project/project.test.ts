import fc from 'fast-check';
import t from 'tap';
import { Diagnostics, diagnosticText, lineAndColumn, type MapNode, type Plain, printYaml } from '../document/index.js';
import { configDocument, type ProjectInputs, readDotEnv, readProject, readRawEnv } from './index.js';
import { mergeFiles } from './merge.js';

interface Given {
  files?: Record<string, string>;
  env?: Record<string, string>;
  profiles?: string[];
}

/** Reads the files named `-c` first, the others as they are asked for. */
function project(compose: string[], { files = {}, env = {}, profiles = [] }: Given = {}) {
  const inputs: ProjectInputs = {
    files: compose.map((text, i) => ({ shownPath: `c${i}.yml`, path: `/p/c${i}.yml`, read: { text } })),
    lookup: (name) => env[name],
    readFile: (path) => (files[path] === undefined ? { error: 'no such file or directory' } : { text: files[path] }),
    directory: '/p',
    home: '/home/me',
    profiles,
    interpolate: true,
  };
  const { root, diagnostics } = readProject(inputs);
  const document =
    root === undefined ? undefined : (configDocument(root, '/p') as Record<string, Record<string, Plain>>);
  const services = document?.['services'] as Record<string, Record<string, Plain>> | undefined;
  return {
    document,
    services: services ?? {},
    errors: diagnostics.errors.map(diagnosticText),
    warnings: diagnostics.warnings.map(diagnosticText),
    root,
    diagnostics,
  };
}

t.test('a later file is laid over an earlier one by the rules of Docker', async (t) => {
  const base = `services: {web: {image: a, tty: true, command: [x], environment: {A: 1, B: 2}, dns: [1.1.1.1],
    ports: ["80:80", "443:443"], volumes: ["one:/a", "/b"], deploy: {replicas: 3, labels: {x: "1"}}}}`;
  const over = `services: {web: {image: b, tty: false, command: [y, z], environment: [B=3], dns: [2.2.2.2],
    ports: ["80:8080"], volumes: ["other:/a"], deploy: {replicas: 0}}, more: {image: c}}`;
  const { services, errors } = project([base, over]);
  t.same(errors, []);
  t.match(services['web'], {
    image: 'b',
    tty: true,
    command: ['y', 'z'],
    environment: { A: '1', B: '3' },
    dns: ['1.1.1.1', '2.2.2.2'],
    ports: [{ published: 80, target: 8080 }, { published: 443 }],
    volumes: [{ source: 'other', target: '/a' }, { target: '/b' }],
    deploy: { replicas: 0, labels: { x: '1' } },
  });
  t.ok(services['more']);
});

t.test('!reset takes away and !override replaces', async (t) => {
  const base = 'services: {web: {image: a, tty: true, dns: [1.1.1.1], ports: ["80:80"], labels: {a: b}}}';
  const over =
    'services: {web: {tty: !override false, dns: !override [2.2.2.2], ports: !reset [], labels: !reset null}}';
  const { services, errors } = project([base, over]);
  t.same(errors, []);
  t.same({ ...services['web'] }, { dns: ['2.2.2.2'], image: 'a', tty: false });
});

t.test('services extend others, of other files too, whose paths are seen from there', async (t) => {
  const files = {
    '/p/lib/base.yml': 'services: {base: {image: x, env_file: vars.env, volumes: ["./data:/data"], tty: true}}',
    '/p/lib/vars.env': 'FROM=lib\n',
  };
  const compose = `services:
  web: {extends: {file: lib/base.yml, service: base}, tty: false, environment: {MORE: 1}}
  api: {extends: web, image: y}`;
  const { services, errors } = project([compose], { files });
  t.same(errors, []);
  t.match(services['api'], {
    image: 'y',
    tty: false,
    environment: { FROM: 'lib', MORE: '1' },
    volumes: [{ type: 'bind', source: '/p/lib/data' }],
  });
  t.match(
    project(['services: {a: {extends: b}, b: {extends: a}}']).errors.join(),
    /extend each other in a circle: a -> b -> a/,
  );
  t.match(project(['services: {a: {extends: {service: c}}}']).errors.join(), /there is no service "c"/);
});

t.test('included files are there with their own folder and environment, and clash with what is another', async (t) => {
  const files = {
    '/p/sub/compose.yml': `include: [deeper.yml]\nservices: {db: {image: "db:${'$'}{TAG}", volumes: ["./d:/d"]}}`,
    '/p/sub/deeper.yml': 'services: {cache: {image: c}}',
    '/p/sub/.env': 'TAG=7\n',
    '/p/round.yml': 'include: [round.yml]\nservices: {}',
  };
  const { services, errors } = project(['include: [sub/compose.yml]\nservices: {web: {image: w}}'], { files });
  t.same(errors, []);
  t.same(Object.keys(services), ['cache', 'db', 'web']);
  t.match(services['db'], { image: 'db:7', volumes: [{ source: '/p/sub/d' }] });
  t.match(
    project(['include: [sub/compose.yml]\nservices: {db: {image: other}}'], { files }).errors.join(),
    /services\.db is included, and is here too/,
  );
  t.match(project(['include: [round.yml]'], { files }).errors.join(), /include each other in a circle/);
  t.match(project(['include: [gone.yml]'], { files }).errors.join(), /gone\.yml: no such file/);
});

t.test('a service with profiles is there when one of them is wanted', async (t) => {
  const compose = 'services: {web: {image: a}, debug: {image: b, profiles: [dev, test]}}';
  t.same(Object.keys(project([compose]).services), ['web']);
  t.same(Object.keys(project([compose], { profiles: ['test'] }).services), ['debug', 'web']);
  t.same(Object.keys(project([compose], { profiles: ['*'] }).services), ['debug', 'web']);
});

t.test('env files are read as Docker reads them, or in the format that is asked for', async (t) => {
  const lookup = (name: string) => ({ HOME: '/root' })[name];
  const raw = readRawEnv('# c\nA="q" # no comment\n\n  B=$HOME\nHOME\nNONE\nE=\n', lookup);
  t.same('variables' in raw && Object.fromEntries(raw.variables), {
    A: '"q" # no comment',
    B: '$HOME',
    HOME: '/root',
    E: '',
  });
  const text = 'export A="x\\ny"\nB=\'$HOME\' # c\nC=$HOME/b # c\nD="two\nlines"\nE: yes\nF=\u0024{B:-z}\n';
  const dotted = readDotEnv(text, lookup);
  t.same('variables' in dotted && Object.fromEntries(dotted.variables), {
    A: 'x\ny',
    B: '$HOME',
    C: '/root/b',
    D: 'two\nlines',
    E: 'yes',
    F: '$HOME',
  });
  const compose = 'services: {web: {image: a, env_file: bad.env}}';
  const { errors } = project([compose], { files: { '/p/bad.env': 'OK=1\nA B=2\n' } });
  t.match(errors.join(), /\/p\/bad\.env:2:1: error: .*variable 'A B' contains whitespaces/);
  t.match(project([compose]).errors.join(), /env file \/p\/bad\.env: no such file/);
});

t.test('all faults are told, each at its line, with what would be right', async (t) => {
  const compose = `services:
  web:
    image: 5
    enviroment: {A: b}
    ports:
      - "80:80"
      - target: x
        publshed: 5
    deploy: {update_config: {order: start-frist}}
  api:
    restart: 7
    healthcheck: {interval: 10}
`;
  const { errors } = project([compose]);
  const expected = [
    /^c0\.yml:3:12: error: services\.web\.image: expected text, got the number 5/,
    /^c0\.yml:4:5: error: services\.web\.enviroment: unknown key "enviroment"; did you mean "environment"\?/,
    /^c0\.yml:8:9: error: services\.web\.ports\[1\]\.publshed: unknown key "publshed"; did you mean "published"\?/,
    /^c0\.yml:9:37: error: services\.web\.deploy\.update_config\.order: .* did you mean "start-first"\?/,
    /^c0\.yml:11:14: error: services\.api\.restart: expected text/,
    /^c0\.yml:12:29: error: services\.api\.healthcheck\.interval: expected a duration such as 1m30s, got the number 10/,
  ];
  t.equal(errors.length, expected.length, errors.join('\n'));
  for (const [i, pattern] of expected.entries()) t.match(errors[i], pattern);
});

t.test('a fault points at the line that holds it, wherever it is put', async () => {
  const fault = fc.constantFrom('bad key: 1', 'image: 5', 'deploy: [1]', 'ports: 3', 'labels: {a: [b]}', 'tty: maybe');
  const filler = fc.array(fc.constantFrom('# a comment', '', '    hostname: h', '    user: me'), { maxLength: 8 });
  fc.assert(
    fc.property(filler, filler, fault, (before, after, bad) => {
      const unique = (lines: string[]) =>
        lines.filter((line, i) => !line.startsWith('    ') || lines.indexOf(line) === i);
      const above = unique(before);
      const below = after.filter((line) => !line.startsWith('    '));
      const text = ['services:', '  web:', ...above, `    ${bad}`, ...below, ''].join('\n');
      const { diagnostics } = project([text]);
      const [first] = diagnostics.errors;
      return (
        first?.place !== undefined && lineAndColumn(first.place.source, first.place.start).line === 3 + above.length
      );
    }),
    { numRuns: 300 },
  );
});

t.test('what is printed is read as the same project', async (t) => {
  const compose = `name: shop
services:
  web:
    image: a
    command: sh -c "echo $$HOME"
    ports: ["80:80", "9000-9001:9000-9001/udp"]
    volumes: ["v:/v:ro", "./b:/b", {type: tmpfs, target: /t, tmpfs: {size: 10m}}]
    secrets: [s, {source: s, target: t, mode: 0400}]
    ulimits: {nofile: 5}
    healthcheck: {test: curl x, interval: 90s}
    depends_on: {db: {condition: service_healthy}}
    environment: [A, B=, "C=yes"]
    deploy: {resources: {limits: {cpus: 0.5, memory: 64M}}}
  db: {image: b, networks: [front], depends_on: []}
networks: {front: }
volumes: {v: }
secrets: {s: {file: ./s}}`;
  const once = project([compose]);
  t.same(once.errors, []);
  const text = printYaml(once.document ?? {}).replaceAll('$', '$$$$');
  const again = project([text]);
  t.same(again.errors, []);
  t.equal(printYaml(again.document ?? {}), printYaml(once.document ?? {}));
});

t.test('merging is associative', async () => {
  const values = {
    image: fc.constantFrom('a', 'b'),
    environment: fc.dictionary(fc.constantFrom('A', 'B'), fc.constantFrom('1', '2'), { noNullPrototype: true }),
    dns: fc.uniqueArray(fc.constantFrom('1.1.1.1', '2.2.2.2')),
    command: fc.array(fc.constantFrom('x', 'y'), { minLength: 1, maxLength: 2 }),
    volumes: fc.uniqueArray(fc.constantFrom('v:/a', 'w:/a', 'v:/b')),
    ports: fc.uniqueArray(fc.constantFrom('80:80', '80:81', '443:1')),
    deploy: fc.record({ replicas: fc.nat(2) }, { requiredKeys: [] }),
  };
  const file = fc.dictionary(fc.constantFrom('web', 'db'), fc.record(values, { requiredKeys: [] }), {
    noNullPrototype: true,
  });
  const tree = (services: object): MapNode | undefined => project([JSON.stringify({ services })]).root;
  fc.assert(
    fc.property(file, file, file, (a, b, c) => {
      const [x, y, z] = [tree(a), tree(b), tree(c)];
      if (x === undefined || y === undefined || z === undefined) return false;
      const diagnostics = new Diagnostics();
      const merge = (first: MapNode, second: MapNode) => mergeFiles(first, second, diagnostics);
      const sorted = (node: MapNode) => JSON.stringify(configDocument(node, '/p'));
      return sorted(merge(merge(x, y), z)) === sorted(merge(x, merge(y, z)));
    }),
    { numRuns: 300 },
  );
});
