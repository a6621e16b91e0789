import assert from 'node:assert/strict';
import { ApiaryError, VirtualClock } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import type { Leadership, MembershipChange } from '../core/index.js';
import { LOG_CONFORMANCE } from './log-conformance.js';
import { bytes, Cluster } from './replicated-cluster.fixture.js';
import { ThreeMembers } from './three-members.fixture.js';

const NO_LEADER = /^The swarm does not have a leader\. It's possible that too few managers are online\./;

/** A clock whose process can be stopped: time goes on, and what was due meanwhile happens once, late. */
class StoppableClock extends VirtualClock {
  #leapMs = 0;

  override now(): number {
    return super.now() + this.#leapMs;
  }

  leap(durationMs: number): void {
    this.#leapMs += durationMs;
    this.advance(20);
  }
}

const failure = async (cluster: Cluster, promise: Promise<unknown>): Promise<ApiaryError> => {
  const outcome = await cluster.settle(promise.catch((error: unknown) => error));
  assert.ok(outcome instanceof ApiaryError, String(outcome));
  return outcome;
};

for (const { name, run } of LOG_CONFORMANCE) {
  t.test(`with three members: ${name}`, async (t) => {
    const maxEntryBytes = 2 * 1024 * 1024;
    const base = t.testdir();
    const options = { snapshots: { everyEntries: 90, keepEntries: 20 }, segmentBytes: 8192, node: { maxEntryBytes } };
    await run({ newLog: () => new ThreeMembers(base, options), maxEntryBytes, cleanUp: async () => {} });
  });
}

t.test('what is proposed on any member is applied on all, once, before its proposer is answered', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const before = (await cluster.agree()).length;
  for (let i = 0; i < 12; i++) {
    const { log, ledger } = cluster.member(`m${1 + (i % 3)}`);
    const index = await cluster.settle(log.propose(bytes(`entry ${i}`)));
    t.same(ledger.entries.at(-1), { index, text: `entry ${i}` });
  }
  const texts = Array.from({ length: 12 }, (_, i) => `entry ${i}`);
  t.same((await cluster.agree()).slice(before), texts);
  const appends = () => cluster.network.sent.get('append-request') ?? 0;
  const sent = appends();
  const { leader } = cluster;
  await cluster.settle(Promise.all(Array.from({ length: 500 }, (_, i) => leader.log.propose(bytes(`many ${i}`)))));
  t.ok(appends() - sent < 30, `${appends() - sent} append requests for 500 proposals of one turn`);
});

t.test('a read on any member sees what was acknowledged by any other', async (t) => {
  const cluster = await Cluster.of(t, 3);
  for (let i = 0; i < 6; i++) {
    const [writer, reader] = [cluster.member(`m${1 + (i % 3)}`), cluster.member(`m${1 + ((i + 1) % 3)}`)];
    await cluster.settle(writer.log.propose(bytes(`entry ${i}`)));
    await cluster.settle(reader.log.barrier());
    t.ok(reader.ledger.texts.includes(`entry ${i}`));
  }
});

t.test('when the leader dies another leads, nothing acknowledged is lost, and it comes back', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const heard: Leadership[] = [];
  for (let round = 0; round < 3; round++) {
    const [follower] = cluster.followers;
    assert.ok(follower);
    await cluster.settle(follower.log.propose(bytes(`before ${round}`)));
    follower.log.onLeadership((leadership) => heard.push(leadership));
    const startMs = cluster.clock.now();
    const killed = cluster.kill(cluster.leader.id);
    // Proposed while nobody leads: it waits.
    await cluster.settle(follower.log.propose(bytes(`meanwhile ${round}`)));
    t.ok(cluster.clock.now() - startMs < 5000, `${cluster.clock.now() - startMs} ms`);
    await cluster.restart(killed);
    await cluster.newLeader();
  }
  const texts = await cluster.agree();
  for (let round = 0; round < 3; round++) {
    t.ok(texts.includes(`before ${round}`));
    t.ok(texts.includes(`meanwhile ${round}`));
  }
  t.ok(heard.some(({ role, term }) => role === 'leader' || term > 2));
});

t.test('a lost connection to the leader is a hint: another leads within a fraction of the timeout', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const { id } = cluster.kill(cluster.leader.id);
  // What it said last has arrived by then.
  await cluster.pass(10);
  const startMs = cluster.clock.now();
  cluster.network.tellUnreachable(id);
  await cluster.pass(10);
  for (const { log } of cluster.members.values()) t.match(log.leadership, { role: 'follower', leaderId: undefined });
  await cluster.newLeader();
  t.ok(cluster.clock.now() - startMs < 1500, `${cluster.clock.now() - startMs} ms`);
});

t.test('without a majority nothing is accepted, in the words of Docker, until it is there again', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const [one, two] = cluster.followers;
  assert.ok(one && two);
  const [deadOne, deadTwo] = [cluster.kill(one.id), cluster.kill(two.id)];
  const { leader } = cluster;
  const lost = failure(cluster, leader.log.propose(bytes('lost or not')));
  await cluster.until(() => leader.log.leadership.role === 'follower');
  const startMs = cluster.clock.now();
  const late = [leader.log.propose(bytes('too late')), leader.log.barrier()];
  const refusals = await Promise.all(late.map((promise) => failure(cluster, promise)));
  for (const refusal of refusals) t.match(refusal, { code: 'unavailable', message: NO_LEADER });
  t.ok(cluster.clock.now() - startMs < 6000);
  t.match(await lost, { code: 'unavailable', message: /not known whether the change was made/ });
  await Promise.all([cluster.restart(deadOne), cluster.restart(deadTwo)]);
  await cluster.newLeader();
  await cluster.settle(leader.log.propose(bytes('again')));
  const texts = await cluster.agree();
  t.ok(texts.includes('again'));
  t.notOk(texts.includes('too late'));
});

t.test('what a leader took when it was cut off already is proposed again by itself, and not doubled', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const old = cluster.leader;
  cluster.isolate(old.id);
  const promised = old.log.propose(bytes('from the old leader'));
  const asLeader = old.log.propose(bytes('only as the leader'), { asLeaderOf: old.log.leadership.term });
  const refusal = failure(cluster, asLeader);
  await cluster.until(() => [...cluster.members.values()].some((m) => m !== old && m.log.leadership.role === 'leader'));
  await cluster.settle(cluster.leader.log.propose(bytes('from the new one')));
  cluster.network.heal();
  await cluster.settle(promised);
  t.match(await refusal, { code: 'unavailable', message: /the change was not made/ });
  const texts = (await cluster.agree()).filter((text) => text.startsWith('from') || text.startsWith('only'));
  t.same(texts, ['from the new one', 'from the old leader']);
});

t.test('a leader whose answer is lost leaves the outcome unknown, and nothing is done twice', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const [follower] = cluster.followers;
  assert.ok(follower);
  for (const answers of ['lost', 'awaited'] as const) {
    cluster.network.answers = answers;
    t.match(await failure(cluster, follower.log.propose(bytes(`${answers}, done all the same`))), {
      code: 'unavailable',
    });
  }
  cluster.network.answers = 'arrive';
  t.equal((await cluster.agree()).filter((text) => text.endsWith('done all the same')).length, 2);
});

t.test('who decides as a leader is refused at once elsewhere, and in another term', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const [follower] = cluster.followers;
  assert.ok(follower);
  const { log } = cluster.leader;
  const { term } = log.leadership;
  t.match(await failure(cluster, follower.log.propose(bytes('x'), { asLeaderOf: term })), { code: 'unavailable' });
  t.match(await failure(cluster, log.propose(bytes('x'), { asLeaderOf: term - 1 })), { code: 'unavailable' });
  await cluster.settle(log.propose(bytes('y'), { asLeaderOf: term }));
});

t.test('members come and go, and what goes with it is applied in the same entry', async (t) => {
  const cluster = await Cluster.of(t, 5);
  t.same(cluster.leader.log.members, { voters: ['m1', 'm2', 'm3', 'm4', 'm5'], learners: [] });
  t.ok((await cluster.agree()).includes('promote m5'));
  for (const member of ['m4', 'm5']) {
    if (cluster.leader.id === member) await cluster.settle(cluster.leader.log.transferLeadership());
    await cluster.newLeader();
    await cluster.change({ type: 'remove', member });
    await cluster.member(member).log.close();
    cluster.members.delete(member);
  }
  await cluster.change({ type: 'demote', member: cluster.followers[0]?.id ?? '' });
  t.equal(cluster.leader.log.members.voters.length, 2);
  t.equal(cluster.leader.log.members.learners.length, 1);
  await cluster.settle(cluster.member(cluster.leader.log.members.learners[0] ?? '').log.propose(bytes('by a learner')));
  const { leader } = cluster;
  await cluster.change({ type: 'remove', member: leader.id });
  t.equal(leader.ledger.texts.at(-1), `remove ${leader.id}`);
  await leader.log.close();
  cluster.members.delete(leader.id);
  await cluster.newLeader();
  await cluster.settle(cluster.leader.log.propose(bytes('alone again')));
  t.equal(cluster.leader.log.members.voters.length, 1);
});

t.test('a step of membership that cannot be says why', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const { log } = cluster.leader;
  const [one, two] = cluster.followers;
  assert.ok(one && two);
  const refused = async (change: MembershipChange, code: string, message: RegExp) =>
    t.match(await failure(cluster, log.changeMembers(change, bytes('x'))), { code, message });
  await refused({ type: 'add-learner', member: one.id }, 'failed-precondition', /m\d takes part in .* already/);
  await refused({ type: 'promote', member: one.id }, 'failed-precondition', /has a vote among the managers already/);
  await refused({ type: 'remove', member: 'm9' }, 'failed-precondition', /^m9 does not take part/);
  t.match(await failure(cluster, one.log.changeMembers({ type: 'remove', member: 'm1' }, bytes('x'))), {
    code: 'unavailable',
    message: /this manager does not lead/,
  });
  const under = log.changeMembers({ type: 'add-learner', member: 'm7' }, bytes('first'));
  await refused({ type: 'add-learner', member: 'm8' }, 'unavailable', /another change .* is under way/);
  await cluster.settle(under);
  await cluster.pass(100);
  await refused(
    { type: 'promote', member: 'm7' },
    'failed-precondition',
    /m7 has not caught up .*: it does not answer/,
  );
  await cluster.change({ type: 'remove', member: 'm7' });
  cluster.kill(two.id);
  await cluster.until(() => log.peers.some(({ id, isActive }) => id === two.id && !isActive));
  await refused(
    { type: 'remove', member: one.id },
    'failed-precondition',
    new RegExp(
      `^removing ${one.id} would leave 1 of 2 managers reachable, and 2 are needed: bring ${two.id} back first, or force it$`,
    ),
  );
  await cluster.change({ type: 'remove', member: two.id });
  t.equal(log.members.voters.length, 2);
});

t.test('who listens hears of each change of the members, and of one that falls silent', async (t) => {
  const cluster = await Cluster.of(t, 1);
  const { log } = cluster.leader;
  const heard: string[] = [];
  const end = log.onMembers(() =>
    heard.push(`${log.members.voters} ${log.peers.map(({ id, isActive }) => `${id}${isActive ? '+' : '-'}`)}`),
  );
  await cluster.add('m2');
  await cluster.add('m3');
  cluster.kill('m3');
  await cluster.until(() => log.peers.some(({ isActive }) => !isActive));
  t.equal(heard.at(-1), 'm1,m2,m3 m2+,m3-');
  for (const line of ['m1 m2-', 'm1 m2+', 'm1,m2 m2+', 'm1,m2,m3 m2+,m3+']) t.ok(heard.includes(line), line);
  end();
  const count = heard.length;
  await cluster.change({ type: 'remove', member: 'm3' });
  t.equal(heard.length, count);
  t.same(cluster.member('m2').log.peers, []);
});

t.test('the leadership is handed to whom it is meant for, or to whoever is best', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const [heir] = cluster.followers;
  assert.ok(heir);
  const old = cluster.leader;
  await cluster.settle(old.log.transferLeadership(heir.id));
  t.equal(old.log.leadership.role, 'follower');
  t.equal((await cluster.newLeader()).id, heir.id);
  await cluster.settle(old.log.transferLeadership());
  await cluster.settle(heir.log.transferLeadership());
  t.not((await cluster.newLeader()).id, heir.id);
  t.match(await failure(cluster, cluster.leader.log.transferLeadership('m9')), {
    code: 'failed-precondition',
    message: /m9 is no other manager with a vote/,
  });
  for (const { id } of cluster.followers) cluster.isolate(id);
  const { log } = cluster.leader;
  const [deaf] = cluster.followers;
  const outcome = await cluster.settle(log.transferLeadership(deaf?.id).catch((error: unknown) => error));
  // In vain, or it stepped down for want of a majority in the meantime.
  t.ok(outcome === undefined || (outcome instanceof ApiaryError && outcome.code === 'unavailable'), String(outcome));
});

t.test('a member that was away for long gets a snapshot, and goes on from there', async (t) => {
  const cluster = await Cluster.of(t, 3, { snapshots: { everyEntries: 50, keepEntries: 10 } });
  const [follower] = cluster.followers;
  assert.ok(follower);
  const killed = cluster.kill(follower.id);
  for (let batch = 0; batch < 12; batch++) {
    await cluster.settle(
      Promise.all(Array.from({ length: 20 }, (_, i) => cluster.leader.log.propose(bytes(`entry ${batch * 20 + i}`)))),
    );
    await cluster.pass(50);
  }
  const back = await cluster.restart(killed);
  await cluster.settle(back.log.propose(bytes('from who was away')));
  t.ok(back.told.includes('snapshot received'), back.told.join());
  t.equal(back.ledger.texts.at(-1), 'from who was away');
  t.ok((await cluster.agree()).length > 240);
});

t.test('who was stopped for a while hears what was said before it takes the leader for dead', async (t) => {
  const cluster = await Cluster.of(t, 2);
  const own = new StoppableClock();
  const member = await cluster.start('m3', 'join', { clock: own });
  /** Time passes for all, or, while `m3` is stopped, for the others. */
  const pass = async (durationMs: number, isStopped: boolean) => {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 10) {
      if (!isStopped) own.advance(10);
      await cluster.pass(10);
    }
  };
  await cluster.change({ type: 'add-learner', member: 'm3' });
  await pass(500, false);
  await cluster.change({ type: 'promote', member: 'm3' });
  await pass(100, false);
  const { leader } = cluster;
  const { term } = leader.log.leadership;
  const heard: Leadership[] = [];
  member.log.onLeadership((leadership) => heard.push(leadership));
  for (const stoppedMs of [300, 3_000, 60_000]) {
    cluster.network.hold('m3');
    await pass(Math.min(stoppedMs, 1500), true);
    // A clock that is behind for so long shows it at once: its timers are late.
    own.leap(stoppedMs);
    cluster.network.release('m3');
    await pass(500, false);
  }
  t.same(heard, [], 'it never lost its leader');
  t.equal(leader.log.leadership.term, term);
  await pass(1000, false);
  t.same(member.ledger.texts.at(-1), 'promote m3');
});

t.test('a follower whose disk is full refuses nothing of the others, and catches up', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const [follower] = cluster.followers;
  assert.ok(follower);
  follower.disk.capacityBytes = follower.disk.usedBytes();
  for (let i = 0; i < 20; i++) await cluster.settle(cluster.leader.log.propose(new Uint8Array(60_000).fill(i)));
  follower.disk.capacityBytes = Number.POSITIVE_INFINITY;
  await cluster.settle(cluster.leader.log.propose(bytes('fits again')));
  await cluster.until(() => follower.ledger.texts.includes('fits again'));
});

t.test('a leader whose disk is full hands over, and what it had accepted is not lost or doubled', async (t) => {
  const cluster = await Cluster.of(t, 3);
  const old = cluster.leader;
  old.disk.capacityBytes = old.disk.usedBytes();
  const texts = Array.from({ length: 30 }, (_, i) => `${i} `.padEnd(60_000, '.'));
  const outcomes = await cluster.settle(Promise.allSettled(texts.map((text) => old.log.propose(bytes(text)))));
  t.not((await cluster.newLeader()).id, old.id);
  await cluster.settle(cluster.leader.log.propose(bytes('taken by the others')));
  t.match(await failure(cluster, old.log.barrier()), { code: 'unavailable', message: /this manager is behind/ });
  old.disk.capacityBytes = Number.POSITIVE_INFINITY;
  const found = await cluster.agree();
  outcomes.forEach((outcome, i) => {
    if (outcome.status === 'fulfilled') t.ok(found.includes(texts[i] ?? ''), `entry ${i}`);
  });
});

t.test('whoever dies or is cut off, whenever: nothing acknowledged is lost, nothing is there twice', async () => {
  const step = fc.record({
    writes: fc.integer({ min: 1, max: 12 }),
    event: fc.constantFrom('none', 'kill', 'kill-leader', 'isolate', 'isolate-leader', 'hold', 'hand-over', 'answers'),
    afterMs: fc.integer({ min: 0, max: 400 }),
  });
  const steps = fc.array(step, { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.nat(), steps, async (seed, all) => {
      const cluster = new Cluster({ snapshots: { everyEntries: 15, keepEntries: 5 } }, seed);
      await cluster.grow(3);
      const outcomes = new Map<string, 'acknowledged' | 'unknown'>();
      for (const [i, { writes, event, afterMs }] of all.entries()) {
        for (let k = 0; k < writes; k++) {
          const text = `write ${i}.${k}`;
          const { log } = [...cluster.members.values()][k % 3] ?? cluster.leader;
          log.propose(bytes(text)).then(
            () => outcomes.set(text, 'acknowledged'),
            () => outcomes.set(text, 'unknown'),
          );
        }
        await cluster.pass(afterMs % 40);
        await disturb(cluster, event, afterMs);
      }
      await cluster.newLeader();
      await cluster.until(() => outcomes.size === all.reduce((sum, { writes }) => sum + writes, 0));
      const found = new Set(await cluster.agree());
      for (const [text, outcome] of outcomes) assert.ok(outcome === 'unknown' || found.has(text), `${text} is lost`);
      await cluster.close();
    }),
    { numRuns: 15 },
  );
});

async function disturb(cluster: Cluster, event: string, afterMs: number): Promise<void> {
  await cluster.newLeader();
  const victim = event.endsWith('-leader') ? cluster.leader : (cluster.followers[afterMs % 2] ?? cluster.leader);
  switch (event) {
    case 'kill':
    case 'kill-leader': {
      const killed = cluster.kill(victim.id);
      await cluster.pass(afterMs * 10);
      await cluster.restart(killed);
      return;
    }
    case 'isolate':
    case 'isolate-leader':
      cluster.isolate(victim.id);
      await cluster.pass(afterMs * 10);
      cluster.network.heal();
      return;
    case 'hold':
      cluster.network.hold(victim.id);
      await cluster.pass(afterMs * 5);
      cluster.network.release(victim.id);
      return;
    case 'hand-over':
      await cluster.settle(cluster.leader.log.transferLeadership().catch(() => {}));
      return;
    case 'answers':
      cluster.network.answers = 'lost';
      await cluster.pass(50);
      cluster.network.answers = 'arrive';
      return;
  }
}
