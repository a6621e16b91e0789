import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ApiClient, createClient } from '@apiary/api/client';
import type { ServiceSpec } from '@apiary/api/model';
import t, { type Test } from 'tap';
import { type Host, until } from '../hosts/index.js';
import { Cluster, serviceSpec, skipWithoutHosts } from './cluster.js';
import { WriteLoad } from './write-load.js';

t.setTimeout(240_000);

const NO_LEADER = /The swarm does not have a leader/;

/** What a host lets in of what another one sends, from here on: a link that is cut in one direction. */
async function deafTo(host: Host, other: Host, isDeaf: boolean): Promise<void> {
  const { code, stderr } = await host.exec('iptables', [
    isDeaf ? '-I' : '-D',
    'INPUT',
    '-s',
    other.address,
    '-j',
    'DROP',
  ]);
  if (code !== 0) throw new Error(stderr);
}

/** Managers, numbered like their hosts, under a load of writes through those of them that are not named as lost. */
class Managers {
  readonly lost = new Set<number>();
  readonly load: WriteLoad;

  private constructor(
    readonly cluster: Cluster,
    readonly numbers: readonly number[],
  ) {
    this.load = new WriteLoad(cluster, () => this.living);
  }

  static async under(t: Test, cluster: Cluster, count: number): Promise<Managers> {
    const managers = new Managers(
      cluster,
      Array.from({ length: count }, (_, i) => i + 1),
    );
    await managers.whole();
    t.teardown(() => managers.load.stop());
    await managers.load.start();
    return managers;
  }

  get living(): number[] {
    return this.numbers.filter((number) => !this.lost.has(number));
  }

  host(number: number): Host {
    return this.cluster.hosts.host(number);
  }

  /** Waits until all are managers and of one mind. @returns who leads */
  whole(): Promise<number> {
    return this.cluster.managersAre(...this.numbers);
  }

  async followers(): Promise<number[]> {
    const leader = await this.whole();
    return this.numbers.filter((number) => number !== leader);
  }

  /** Does something to managers, waits until the others go on writing, undoes it, and waits until all is whole. */
  async without(t: Test, what: string, numbers: number[], broken: { break: Change; mend: Change }): Promise<void> {
    await this.load.goesOn();
    this.load.takeLongestGapMs();
    for (const number of numbers) this.lost.add(number);
    const started = performance.now();
    await Promise.all(numbers.map((number) => broken.break(this.host(number))));
    const wentOn = this.load.goesOn();
    await wentOn.catch(() => undefined);
    const gapMs = this.load.takeLongestGapMs().toFixed(0);
    await Promise.all(numbers.map((number) => broken.mend(this.host(number))));
    await wentOn;
    for (const number of numbers) this.lost.delete(number);
    await this.whole();
    await this.load.goesOn();
    const totalMs = (performance.now() - started).toFixed(0);
    t.pass(`${what} h${numbers}: at most ${gapMs} ms without a write, all over after ${totalMs} ms`);
  }

  /** Stops the load, and says what of it was lost or doubled, whoever is asked. */
  async account(t: Test): Promise<void> {
    await this.load.stop();
    for (const number of this.living) t.same(await this.load.problems(number), [], `seen through h${number}`);
    t.comment(`${this.load.acknowledged} writes acknowledged`);
    this.load.resume();
  }
}

type Change = (host: Host) => Promise<unknown>;
const KILLED = { break: (host: Host) => host.killSwarmd(), mend: (host: Host) => host.startSwarmd() };
const CUT = { break: (host: Host) => host.cut(), mend: (host: Host) => host.heal() };
const PAUSED = { break: (host: Host) => host.pauseSwarmd(), mend: (host: Host) => host.resumeSwarmd() };

t.test('of three managers', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.hosts(t, 3);
  // Small enough to be filled, large enough for a log.
  for (const host of cluster.hosts) await host.mountDataRoot({ sizeBytes: 96 * 1024 * 1024 });
  await cluster.form({ managers: 3 });
  const managers = await Managers.under(t, cluster, 3);
  const { load } = managers;

  t.test('each says the same and takes writes, which all then have', async (t) => {
    const leader = await managers.whole();
    t.equal(leader, 1, 'who began leads');
    for (const number of managers.numbers) {
      const { ID } = await cluster.client(number).createService(serviceSpec(`through-h${number}`, { replicas: 0 }));
      for (const other of managers.numbers) t.equal((await cluster.client(other).service(`through-h${number}`)).ID, ID);
      const info = await cluster.client(number).info();
      t.match(info.Swarm, { ControlAvailable: true, LocalNodeState: 'active', Managers: 3, Nodes: 3 });
      const self = await cluster.client(number).node('self');
      t.equal(self.ManagerStatus?.Leader === true, number === leader);
    }
    await managers.account(t);
  });

  t.test('any is killed -9: the others go on, and it comes back', async (t) => {
    const leader = await managers.whole();
    const isSaidToBe = (reachability: string) =>
      until(`h${leader} to be ${reachability}`, async () => {
        const nodes = await cluster.client(1 + (leader % 3)).nodes();
        const node = nodes.find(({ Description }) => Description.Hostname === `h${leader}`);
        return node?.ManagerStatus?.Reachability === reachability;
      });
    await managers.without(t, 'leader killed:', [leader], {
      break: KILLED.break,
      mend: async (host) => {
        await isSaidToBe('unreachable');
        await host.startSwarmd();
        await isSaidToBe('reachable');
      },
    });
    for (const follower of await managers.followers())
      await managers.without(t, 'follower killed:', [follower], KILLED);
    await managers.without(t, 'leader killed again:', [await managers.whole()], KILLED);
    await managers.account(t);
  });

  t.test('any has its link cut: the others go on, and it comes back', async (t) => {
    await managers.without(t, 'leader cut off:', [await managers.whole()], CUT);
    const [follower = 0] = await managers.followers();
    await managers.without(t, 'follower cut off:', [follower], CUT);
    await managers.account(t);
  });

  t.test('the leader hears nobody, or one that nobody hears: who has a majority goes on', async (t) => {
    for (const isLeaderDeaf of [true, false]) {
      const leader = await managers.whole();
      const others = managers.numbers.filter((number) => number !== leader).map((number) => managers.host(number));
      const change = (isDeaf: boolean) => async (host: Host) => {
        for (const other of others) await (isLeaderDeaf ? deafTo(host, other, isDeaf) : deafTo(other, host, isDeaf));
      };
      const words = isLeaderDeaf ? 'leader hears nobody:' : 'nobody hears the leader:';
      await managers.without(t, words, [leader], { break: change(true), mend: change(false) });
    }
    // Between two of them alone: the third hears both, and lets the one that is apart depose nobody.
    const leader = await managers.whole();
    const [follower = 0] = managers.numbers.filter((number) => number !== leader);
    const between = (isDeaf: boolean) => async (host: Host) => {
      await deafTo(host, managers.host(leader), isDeaf);
      await deafTo(managers.host(leader), host, isDeaf);
    };
    await managers.without(t, 'apart from the leader:', [follower], { break: between(true), mend: between(false) });
    t.equal(await managers.whole(), leader, 'who led leads');
    await managers.account(t);
  });

  t.test('any stands still for longer than an election: it wakes up to what has happened', async (t) => {
    const leader = await managers.whole();
    await managers.without(t, 'leader paused:', [leader], {
      break: PAUSED.break,
      mend: async (host) => {
        const created = await cluster.client(1 + (leader % 3)).createService(serviceSpec('meanwhile', { replicas: 0 }));
        await host.resumeSwarmd();
        // It still believes to lead when it wakes up; what it reads must not be from then.
        const seen = await until('the one that was paused to answer', () => host.isSwarmdRunning && readOf(host));
        t.equal(seen.ID, created.ID, 'a read through the deposed leader is no stale one');
      },
    });
    const [follower = 0] = await managers.followers();
    await managers.without(t, 'follower paused:', [follower], PAUSED);
    await managers.account(t);
  });

  t.test('any has a full disk: a follower is not missed, a leader gives up leading', async (t) => {
    const ballast = (host: Host) => join(host.directory, 'swarmd', 'ballast');
    let bulk = 0;
    /** Fills the disk, and writes until the log does not fit into what was set aside for it any more. */
    const fill = async (host: Host) => {
      await host.exec('sh', ['-c', `cat /dev/zero > ${ballast(host)} 2>/dev/null || true`]);
      const said = readFileSync(host.swarmdLog, 'utf8').length;
      const other = cluster.client(1 + (host.number % 3));
      await until(`${host.name} to have no room`, async () => {
        const spec = { ...serviceSpec(`bulk-${++bulk}`, { replicas: 0 }), Labels: { bulk: 'x'.repeat(64 * 1024) } };
        await other.createService(spec).catch(() => undefined);
        return readFileSync(host.swarmdLog, 'utf8').includes('the log could not be written', said);
      });
    };
    const full = { break: fill, mend: (host: Host) => host.exec('rm', [ballast(host)]) };
    const [follower = 0] = await managers.followers();
    await managers.without(t, 'disk of a follower full:', [follower], full);
    const leader = await managers.whole();
    await managers.without(t, 'disk of the leader full:', [leader], full);
    t.not(await managers.whole(), leader, 'another leads');
    await managers.account(t);
    const { manager } = cluster;
    for (const { ID } of await manager.services({ name: ['bulk-'] })) await manager.removeService(ID);
  });

  t.test('one comes back under another address: it is who its certificate says', async (t) => {
    const [follower = 0] = await managers.followers();
    const host = managers.host(follower);
    const other = host.address.replace(/\.\d+$/, `.${100 + follower}`);
    const move = async (from: string, to: string) => {
      const ip = `ip addr del ${from}/24 dev eth0 && ip addr add ${to}/24 dev eth0`;
      const { code, stderr } = await host.exec('sh', ['-c', ip]);
      t.equal(code, 0, stderr);
    };
    const addrOf = async () => (await cluster.client(follower).node('self')).ManagerStatus?.Addr;
    await managers.without(t, 'address changed:', [follower], {
      break: () => host.killSwarmd(),
      mend: async () => {
        await move(host.address, other);
        await host.startSwarmd();
      },
    });
    await until('the records to have its new address', async () => (await addrOf()) === `${other}:2377`);
    await managers.without(t, 'address changed back:', [follower], {
      break: () => host.killSwarmd(),
      mend: async () => {
        await move(other, host.address);
        await host.startSwarmd();
      },
    });
    await until('the records to have its old address', async () => (await addrOf()) === `${host.address}:2377`);
    await managers.account(t);
  });

  t.test('two are lost: the third refuses writes and reads, and says why; nothing is forgotten', async (t) => {
    await load.goesOn();
    const leader = await managers.whole();
    const [last = 0, other = 0] = managers.numbers.filter((number) => number !== leader);
    await load.stop();
    const others = [managers.host(leader), managers.host(other)];
    await Promise.all(others.map((host) => host.killSwarmd()));
    const alone = cluster.client(last);
    const spec = serviceSpec('refused', { replicas: 0 });
    const asked = Promise.allSettled([alone.createService(spec), alone.services(), alone.nodes()]);
    const docker = await managers.host(last).docker('service', 'ls');
    for (const answer of await asked) {
      t.match(answer, { status: 'rejected', reason: { status: 503, message: NO_LEADER } });
    }
    t.equal(docker.code, 1);
    t.match(docker.stderr, NO_LEADER);
    t.equal((await alone.info()).Swarm.LocalNodeState, 'active', 'what it knows by itself it says');
    await Promise.all(others.map((host) => host.startSwarmd()));
    await managers.whole();
    t.notOk((await alone.services()).some(({ Spec }) => Spec.Name === 'refused'));
    load.resume();
    await load.goesOn();
    await managers.account(t);
  });

  t.test('all are killed at once: what was acknowledged is there', async (t) => {
    await load.goesOn();
    await Promise.all(managers.numbers.map((number) => managers.host(number).killSwarmd()));
    await Promise.all(managers.numbers.map((number) => managers.host(number).startSwarmd()));
    await managers.whole();
    await load.goesOn();
    await managers.account(t);
  });
});

for (const { count, lost, rounds } of [
  { count: 5, lost: 2, rounds: 2 },
  { count: 7, lost: 3, rounds: 1 },
]) {
  t.test(
    `of ${count} managers ${lost} are killed, the leader among them: the others go on`,
    { skip: skipWithoutHosts },
    async (t) => {
      const cluster = await Cluster.up(t, count, { managers: count });
      const managers = await Managers.under(t, cluster, count);
      for (let round = 0; round < rounds; round++) {
        const leader = await managers.whole();
        const victims = Array.from({ length: lost }, (_, i) => 1 + ((leader - 1 + i) % count));
        await managers.without(t, 'killed:', victims, KILLED);
      }
      await managers.account(t);
      await managers.load.stop();
    },
  );
}

function readOf(host: Host) {
  const client: ApiClient = createClient(`unix://${host.swarmdSocket}`);
  return client.request<{ ID: string; Spec: ServiceSpec }>('GET', '/services/meanwhile', {
    signal: AbortSignal.timeout(5_000),
  });
}
