import * as fc from 'fast-check';
import t from 'tap';
import { structOf } from '../template/index.js';
import {
  alignColumns,
  CLIENT_CERTIFICATES,
  clientCertificateRows,
  compareNaturally,
  goDuration,
  humanBytes,
  humanDuration,
  JOIN_TOKENS,
  joinTokenRows,
  renderList,
} from './index.js';

t.test('columns are as wide as their widest cell, and each starts at one place', async (t) => {
  const cell = fc.stringMatching(/^[a-z]{0,14}$/);
  const table = fc
    .integer({ min: 1, max: 5 })
    .chain((columns) =>
      fc.array(fc.array(cell, { minLength: columns, maxLength: columns }), { minLength: 1, maxLength: 6 }),
    );
  fc.assert(
    fc.property(table, (rows) => {
      const width = (column: number) => Math.max(4, ...rows.map((row) => (row[column] ?? '').length + 2));
      const expected = rows.map((row) =>
        row.map((text, i) => (i === row.length - 1 ? text : text.padEnd(width(i)))).join(''),
      );
      t.equal(
        alignColumns(rows.map((row) => row.join('\t')).join('\n'), { leastWidth: 4, padding: 2 }),
        expected.join('\n'),
      );
    }),
  );
});

t.test('a column ends where a line does not have it', async (t) => {
  const text = 'aaaaaa\tb\nx\nc\td\n';
  t.equal(alignColumns(text, { leastWidth: 3, padding: 1 }), 'aaaaaa b\nx\nc  d\n');
  t.equal(alignColumns('日本\tx\nab\ty', { leastWidth: 0, padding: 1 }), '日本 x\nab   y');
});

t.test('a list is a table, the ids, JSON or what a template makes of each row', async (t) => {
  const kind = {
    headings: { ID: 'ID', Name: 'NAME' },
    defaultTable: '{{.ID}}\t{{.Name}}',
    raw: { all: 'id: {{.ID}}\nname: {{.Name}}\n', quiet: 'id: {{.ID}}' },
  };
  const rows = ['web', 'db'].map((name, i) => structOf('row', { ID: () => `id${i}`, Name: () => name }));
  t.equal(renderList(kind, rows, '', false), 'ID        NAME\nid0       web\nid1       db\n');
  t.equal(renderList(kind, [], 'table', false), 'ID        NAME\n');
  t.equal(renderList(kind, rows, '', true), 'id0\nid1\n');
  t.equal(renderList(kind, rows, 'json', true), '{"ID":"id0","Name":"web"}\n{"ID":"id1","Name":"db"}\n');
  t.equal(renderList(kind, rows, 'raw', false), 'id: id0\nname: web\n\nid: id1\nname: db\n\n');
  t.equal(renderList(kind, rows, 'raw', true), 'id: id0\nid: id1\n');
  t.equal(
    renderList(kind, rows, 'table {{.Name}}\\t{{upper .ID}}', false),
    'NAME      ID\nweb       ID0\ndb        ID1\n',
  );
  t.equal(renderList(kind, rows, '{{.Name}}\\n-', true), 'web\n-\ndb\n-\n');
  t.throws(() => renderList(kind, rows, '{{.Nope}}', false), /^template parsing error: template: :1:2: .*Nope/);
});

t.test('names sort as people sort them', async (t) => {
  t.same(['a10', 'a9', 'b', 'a', 'a9b1'].sort(compareNaturally), ['a', 'a9', 'a9b1', 'a10', 'b']);
  const word = fc.stringMatching(/^[ab12]{0,6}$/);
  fc.assert(
    fc.property(word, word, word, (a, b, c) => {
      const sign = (x: string, y: string) => Math.sign(compareNaturally(x, y));
      return sign(a, b) === -sign(b, a) && !(sign(a, b) < 0 && sign(b, c) < 0 && sign(a, c) >= 0);
    }),
  );
});

t.test('times and sizes read as in the lists of docker', async (t) => {
  const hour = 3600_000;
  const ages: [number, string][] = [
    [0, 'Less than a second'],
    [1999, '1 second'],
    [59_999, '59 seconds'],
    [60_000, 'About a minute'],
    [59 * 60_000, '59 minutes'],
    [hour, 'About an hour'],
    [1.5 * hour, '2 hours'],
    [47.4 * hour, '47 hours'],
    [48 * hour, '2 days'],
    [14 * 24 * hour, '2 weeks'],
    [70 * 24 * hour, '2 months'],
    [800 * 24 * hour, '2 years'],
  ];
  for (const [ms, text] of ages) t.equal(humanDuration(ms), text);
  t.equal(goDuration(0), '0s');
  t.equal(goDuration(5_400_500_000_000), '1h30m0.5s');
  t.equal(goDuration(60e9), '1m0s');
  t.equal(goDuration(1500), '1.5µs');
  t.equal(humanBytes(0), '0B');
  t.equal(humanBytes(1536), '1.5KiB');
  t.equal(humanBytes(8_589_934_592), '8GiB');
});

t.test('join tokens and client certificates are listed like all else', async (t) => {
  const nowMs = Date.parse('2026-01-02T03:04:05Z');
  const token = {
    ID: 'x1',
    Token: '',
    Role: 'worker',
    Labels: { zone: 'a', ssd: '' },
    CreatedAt: '2026-01-02T03:00:05.000Z',
  };
  const rows = joinTokenRows(
    [
      { ...token, ExpiresAt: '2026-01-03T03:00:05.000Z' },
      { ...token, ID: 'x2', Labels: {}, ExpiresAt: '' },
    ],
    nowMs,
  );
  t.same(renderList(JOIN_TOKENS, rows, '', false).split('\n'), [
    'ID        ROLE      LABELS       CREATED         EXPIRES',
    'x1        worker    zone=a,ssd   4 minutes ago   2026-01-03 03:00 UTC',
    'x2        worker                 4 minutes ago   ',
    '',
  ]);
  t.equal(renderList(JOIN_TOKENS, rows, '', true), 'x1\nx2\n');
  const certificate = { ID: 'c1', Name: 'ann', Role: 'viewer', Stack: 'shop', CreatedAt: '', RevokedAt: '' };
  const certificates = clientCertificateRows([
    { ...certificate, ExpiresAt: '2026-04-02T03:04:05.000Z' },
    { ...certificate, Name: 'bob', ExpiresAt: '2026-04-02T03:04:05.000Z', RevokedAt: '2026-01-02T03:04:05.000Z' },
  ]);
  t.equal(
    renderList(CLIENT_CERTIFICATES, certificates, '{{.Name}} {{.Stack}} {{.ExpiresAt}} {{.Status}}', false),
    'ann shop 2026-04-02 03:04 UTC \nbob shop 2026-04-02 03:04 UTC revoked 2026-01-02 03:04 UTC\n',
  );
});
