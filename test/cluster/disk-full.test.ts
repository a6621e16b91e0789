import { join } from 'node:path';
import { ApiaryError } from '@apiary/std';
import t from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, skipWithoutHosts } from './cluster.js';

t.setTimeout(120_000);

t.test('a disk that is full', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.hosts(t, 1);
  const host = cluster.hosts.host(1);
  const { manager } = cluster;
  const dataRoot = join(host.directory, 'swarmd');
  const ballast = join(dataRoot, 'ballast');
  await host.mountDataRoot({ sizeBytes: 8 * 1024 * 1024 });
  await host.startSwarmd();
  await cluster.form();

  const acknowledged: string[] = [];
  const refused: string[] = [];
  /** Creates services until one is refused. */
  const createUntilRefused = async (prefix: string): Promise<unknown> => {
    for (let i = 0; i < 20_000; i++) {
      const name = `${prefix}-${i}`;
      try {
        await cluster.create(name, { replicas: 0 });
        acknowledged.push(name);
      } catch (error) {
        refused.push(name);
        return error;
      }
    }
    return undefined;
  };
  const fill = () => host.exec('sh', ['-c', `cat /dev/zero > ${ballast} 2>/dev/null || true`]);
  const free = () => host.exec('rm', [ballast]);
  const names = async () => (await manager.services()).map(({ Spec }) => Spec.Name).sort();

  await cluster.create('steady', { replicas: 2, restartDelayMs: 0 });
  acknowledged.push('steady');
  const [victim] = await cluster.settled('steady', 2);

  t.test('has writes refused, by the name of its directory, and reads answered', async (t) => {
    await fill();
    const error = await createUntilRefused('full');
    t.type(error, ApiaryError);
    t.match(error, { code: 'resource-exhausted', message: /no space left on device/i });
    t.match(error, { message: new RegExp(`${dataRoot}/raft/wal.*: the disk refused a write .*Free space there`) });
    t.same(await names(), [...acknowledged].sort());
    t.equal((await manager.info()).Swarm.LocalNodeState, 'active');
    await t.rejects(manager.removeService('steady'), { code: 'resource-exhausted' });
    t.equal((await manager.tasks()).length, 2);
    t.ok(host.isSwarmdRunning);
    const docker = await host.docker('service', 'create', '--detach', '--name', 'refused-too', 'busybox:test');
    t.not(docker.code, 0);
    t.match(docker.stderr, /the disk refused a write/);
  });

  t.test('with space again takes writes again, and catches up with what happened meanwhile', async (t) => {
    await host.engineDocker('kill', victim?.Id ?? '');
    await until('the container to end', async () =>
      (await cluster.containers('steady')).some(({ Id, State }) => Id === victim?.Id && State === 'exited'),
    );
    await free();
    await until('the container to be replaced', async () =>
      (await cluster.settled('steady', 2)).every(({ Id }) => Id !== victim?.Id),
    );
    await cluster.create('after', { replicas: 0 });
    acknowledged.push('after');
    t.same(await names(), [...acknowledged].sort());
  });

  t.test('is no reason to forget: after kill -9 all is there that was acknowledged, and nothing else', async (t) => {
    await fill();
    await createUntilRefused('again');
    await host.killSwarmd();
    await free();
    await host.startSwarmd();
    t.same(await names(), [...acknowledged].sort());
    t.ok(refused.length >= 2);
    await cluster.settled('steady', 2);
  });

  t.test('at the start is said, and nothing is lost by trying', async (t) => {
    await fill();
    await createUntilRefused('last');
    await host.killSwarmd();
    const [command, ...args] = host.swarmdCommand();
    const { code, stderr } = await host.exec(command, args, { timeoutMs: 20_000 });
    t.equal(code, 1);
    t.match(stderr, new RegExp(`swarmd: ${dataRoot}/raft/wal: the disk refused a write .*no space left on device`));
    await free();
    await host.startSwarmd();
    t.same(await names(), [...acknowledged].sort());
  });
});
