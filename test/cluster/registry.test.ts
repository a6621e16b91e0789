import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { type Host, run, until } from '../hosts/index.js';
import { Cluster, skipWithoutHosts } from './cluster.js';

t.setTimeout(150_000);

const USER = 'alice';
const PASSWORD = 'not-for-everybody';
/** bcrypt of the password at its least cost. */
const HTPASSWD = `${USER}:$2y$05$abcdefghijklmnopqrstuuiESjhV0E91QjdBVZk.ipY7Jz7cKCK4G\n`;

/** Starts Debian's registry on a host, over TLS and for who knows the password. Those hosts' engines trust it. */
async function startRegistry(host: Host, trustedBy: Iterable<Host>): Promise<{ address: string; directory: string }> {
  const directory = join(host.directory, 'registry');
  mkdirSync(directory);
  const at = (name: string) => join(directory, name);
  const address = `${host.address}:5000`;
  await must(host, 'openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-keyout', at('key.pem'), '-out', at('ca.pem'), '-subj', '/CN=registry'],
    ...['-addext', `subjectAltName=IP:${host.address}`],
  ]);
  writeFileSync(at('htpasswd'), HTPASSWD);
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: at('data') } },
    http: { addr: address, tls: { certificate: at('ca.pem'), key: at('key.pem') } },
    auth: { htpasswd: { realm: 'registry', path: at('htpasswd') } },
  };
  writeFileSync(at('config.yml'), JSON.stringify(config));
  await host.spawn('docker-registry', ['serve', at('config.yml')], at('log'));
  await until('the registry to listen', async () =>
    (await must(host, 'ss', ['-Hltn', 'sport', '=', ':5000'])).includes(':5000'),
  );
  const input = readFileSync(at('ca.pem'), 'utf8');
  const folder = `/etc/docker/certs.d/${address}`;
  for (const each of trustedBy) await must(each, 'sh', ['-c', `mkdir -p ${folder} && cat > ${folder}/ca.crt`], input);
  return { address, directory };
}

async function must(host: Host, command: string, args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await host.exec(command, args, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const { code } = await run(['sh', '-c', 'command -v docker-registry']);
const skip = skipWithoutHosts || (code !== 0 && 'no registry here: apt-get install docker-registry');

t.test('a private image runs on every node, for who has logged in and says so', { skip }, async (t) => {
  const cluster = await Cluster.up(t, 2);
  const host = cluster.hosts.host(1);
  const { address, directory } = await startRegistry(host, cluster.hosts);
  const dockerConfig = join(directory, 'docker');
  const engine = ['--config', dockerConfig, '--host', `unix://${host.engineSocket}`];
  const docker = (...words: string[]) => must(host, 'docker', [...engine, ...words]);
  const image = (tag: string) => `${address}/private:${tag}`;
  await must(host, 'docker', [...engine, 'login', '-u', USER, '--password-stdin', address], PASSWORD);
  for (const tag of ['1', '2', '3']) {
    await docker('tag', 'busybox:test', image(tag));
    await docker('push', '-q', image(tag));
    await docker('rmi', image(tag));
  }
  const swarmctl = [join(dirname(host.swarmdCommand()[0]), 'swarmctl'), '--host', `unix://${host.swarmdSocket}`];
  const ctl = (...words: string[]) => host.exec('env', [`DOCKER_CONFIG=${dockerConfig}`, ...swarmctl, ...words]);
  const imagesThatRun = async () =>
    (await Promise.all(cluster.hosts.all.map((each) => each.engineContainers())))
      .flat()
      .filter(({ State }) => State === 'running')
      .map(({ Image }) => Image.replace(/@.*/, ''));
  const flags = ['--mode', 'global', '--update-monitor', '500ms', '--restart-condition', 'none'];

  await ctl('service', 'create', '--detach', '--name', 'stranger', ...flags, image('1'));
  const rejected = await until('both tasks to be rejected', async () => {
    const tasks = await cluster.tasks('stranger');
    return tasks.length === 2 && tasks.every(({ Status }) => Status.State === 'rejected') && tasks;
  });
  for (const { Status } of rejected) t.equal(Status.Err, `No such image: ${image('1')}`);

  const created = await ctl('service', 'create', '--with-registry-auth', '--name', 'web', ...flags, image('1'));
  t.equal(created.code, 0, created.stderr);
  t.notMatch(created.stderr, /could not be accessed on a registry/, 'its digest was found');
  t.same(await imagesThatRun(), [image('1'), image('1')]);
  const pinned = (await cluster.manager.service('web')).Spec.TaskTemplate.ContainerSpec?.Image;
  t.match(pinned, /:1@sha256:/);

  const updated = await ctl('service', 'update', '--image', image('2'), 'web');
  t.equal(updated.code, 0, 'what was said before is kept');
  t.same(await imagesThatRun(), [image('2'), image('2')]);

  const file = join(directory, 'stack.yml');
  writeFileSync(file, `services: {db: {image: '${image('3')}', deploy: {mode: global}}}`);
  const deployed = await ctl('stack', 'deploy', '--with-registry-auth', '-c', file, 'app');
  t.equal(deployed.code, 0, deployed.stderr);
  t.equal((await imagesThatRun()).filter((name) => name === image('3')).length, 2);

  const answers = [await cluster.manager.services(), await cluster.manager.request('GET', '/tasks')];
  const audit = await must(host, 'sh', ['-c', `cat ${host.directory}/swarmd/audit.log* ${host.swarmdLog}`]);
  const auth = Buffer.from(`"password":"${PASSWORD}"`).toString('base64').slice(4, -4);
  for (const text of [JSON.stringify(answers), audit]) t.notOk(text.includes(PASSWORD) || text.includes(auth));
  const kept = await host.exec('grep', ['-rlE', `${PASSWORD}|${auth}`, `${host.directory}/swarmd`]);
  t.equal(kept.stdout, '', 'what is on the disk is encrypted');
});
