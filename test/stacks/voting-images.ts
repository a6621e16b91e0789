import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { archive, archiveOf, busyboxLayer, file, header } from '../hosts/index.js';

const REDIS = ['/usr/bin/redis-server', '/usr/bin/redis-cli'];
const POSTGRES = '/usr/lib/postgresql';

/** Debian's newest PostgreSQL here; undefined when there is none. */
const postgresVersion = (existsSync(POSTGRES) ? readdirSync(POSTGRES) : [])
  .filter((version) => existsSync(join(POSTGRES, version, 'bin/postgres')))
  .sort((a, b) => Number(b) - Number(a))[0];

/** What of Debian's packages is missing for the images; undefined when nothing is. */
export function missingForVoting(): string | undefined {
  const missing = [
    ...(REDIS.every((path) => existsSync(path)) ? [] : ['redis-server']),
    ...(postgresVersion === undefined ? ['postgresql'] : []),
  ];
  return missing.length === 0 ? undefined : `apt-get install --no-install-recommends ${missing.join(' ')}`;
}

const VOTE = `#!/bin/sh
redis-cli -h redis RPUSH votes "$QUERY_STRING" >/dev/null && printf 'Content-Type: text/plain\\r\\n\\r\\nthanks\\n'
`;

const RESULT = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "page $PAGE, $(cat /etc/title), signed $(cat /run/secrets/signature): $(redis-cli -h redis GET result)"
`;

const WORKER = `#!/bin/sh
export PGPASSWORD="$(cat /run/secrets/db_password)" PGHOST=db PGUSER=votes PGDATABASE=postgres
echo 'create table if not exists votes (choice text)' | psql -q -v ON_ERROR_STOP=1 || exit 1
touch /tmp/ready
while :; do
  vote=$(redis-cli -h redis --raw BLPOP votes 1 | tail -n 1)
  if [ -n "$vote" ]; then echo "insert into votes values (:'vote')" | psql -q -v vote="$vote"; fi
  result=$(echo "select string_agg(choice || ' ' || n, ', ' order by choice)
    from (select choice, count(*) as n from votes group by choice) as counted" | psql -qtA)
  redis-cli -h redis SET result "$result" >/dev/null
done
`;

const DATABASE = `#!/bin/sh
initdb -D /tmp/data -U votes --auth=scram-sha-256 --pwfile=/run/secrets/db_password --no-sync --no-locale -E UTF8 >&2 || exit 1
echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories= -c fsync=off -c shared_buffers=16MB
`;

/**
 * Archives for `POST /images/load`: of the voting application, `voting:1` and `voting:2` (another page) with its web pages, its
 * worker and Redis, and of `voting-db:1`, a PostgreSQL.
 */
export function votingArchives(): { application: Buffer; database: Buffer } {
  const version = postgresVersion ?? '';
  const bin = join(POSTGRES, version, 'bin');
  const path = `PATH=/bin:/usr/bin:/usr/local/bin:${bin}`;
  const application = layerOf(
    [...REDIS, join(bin, 'psql')],
    [
      file('www/cgi-bin/vote', Buffer.from(VOTE), 0o755),
      file('www/cgi-bin/result', Buffer.from(RESULT), 0o755),
      file('usr/local/bin/worker', Buffer.from(WORKER), 0o755),
    ],
  );
  const database = layerOf(
    ['postgres', 'initdb', 'pg_isready'].map((name) => join(bin, name)),
    [
      ...['plpgsql.so', 'dict_snowball.so'].flatMap((name) => filesOf(join(POSTGRES, version, 'lib', name))),
      ...filesOf(join('/usr/share/postgresql', version)),
      file('usr/local/bin/database', Buffer.from(DATABASE), 0o755),
    ],
  );
  const base = busyboxLayer();
  return {
    application: archiveOf([base, application], {
      'voting:1': { Env: [path, 'PAGE=1'] },
      'voting:2': { Env: [path, 'PAGE=2'] },
    }),
    // PostgreSQL does not run as root.
    database: archiveOf([base, database], { 'voting-db:1': { Env: [path], User: 'alice' } }),
  };
}

/** A layer with programs, the libraries that they load, and what else is given. */
function layerOf(programs: readonly string[], others: readonly Buffer[]): Buffer {
  const said = execFileSync('ldd', [...programs], { encoding: 'utf8' });
  const libraries = [...said.matchAll(/^\t(?:.* => )?(\/\S+) \(/gm)].map(([, path = '']) => path);
  return archive([...[...new Set([...programs, ...libraries])].flatMap(filesOf), ...others]);
}

/** A file, or all in a folder, at the place where it is here. Links are followed. */
function filesOf(path: string): Buffer[] {
  const status = statSync(path);
  if (!status.isDirectory()) return [file(path.slice(1), readFileSync(path), status.mode & 0o777)];
  const folder = header({ path: `${path.slice(1)}/`, type: '5', mode: 0o755 });
  return [folder, ...readdirSync(path).flatMap((name) => filesOf(join(path, name)))];
}
