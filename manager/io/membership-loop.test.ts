import { ApiaryError, VirtualClock } from '@apiary/std';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { NodeRecord } from '../core/store/records.js';
import { MembershipLoop, type MembershipLoopOptions } from './membership-loop.js';
import { ListReplica } from './rpc/list-replica.js';

/** All that is due in this turn of the event loop has been done. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
const status = { state: 'unknown', message: '', addr: '' } as const;
const healthy = (id: string) => ({ id, isActive: true, isCaughtUp: true });

function node(id: string, role: NodeRecord['role'], wanted: NodeRecord['role'] = role): Omit<NodeRecord, 'meta'> {
  return { id, role, spec: { Role: wanted }, status, managerAddr: `${id}:2377` };
}

/** A leader `m1` of `managers`, with its loop. */
async function lead(t: Test, managers: string[], options: Partial<MembershipLoopOptions> = {}) {
  const clock = new VirtualClock(1_700_000_000_000);
  const replica = new ListReplica(clock);
  replica.members = { voters: ['m1', ...managers], learners: [] };
  const rootCa = { certificatePem: '', keyPem: '' };
  const joinSecrets = { worker: '', manager: '' };
  replica.apply([
    { type: 'cluster-create', cluster: { id: 'c1', spec: {}, joinSecrets, rootCa } },
    ...replica.members.voters.map((id) => ({ type: 'node-create', node: node(id, 'manager') }) as const),
  ]);
  const said: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void said.push(JSON.parse(line).msg) });
  const onFatal = (error: unknown) => t.fail(String(error));
  const loop = new MembershipLoop({ replica, selfId: 'm1', clock, logger, onFatal, ...options });
  t.teardown(() => loop.close());
  replica.standing(...managers.map(healthy));
  await settled();
  return { clock, replica, loop, said };
}

const want = (id: string, Role: 'worker' | 'manager') =>
  ({ type: 'node-spec', id, spec: { Role, Availability: 'active' } }) as const;

t.test('a node that is wanted as a manager becomes one: first it receives the log, then it counts', async (t) => {
  const { replica, said } = await lead(t, []);
  replica.apply([{ type: 'node-create', node: node('m2', 'worker', 'manager') }]);
  await settled();
  t.same(replica.members, { voters: ['m1'], learners: ['m2'] });
  t.equal(replica.view.node('m2')?.role, 'manager');
  replica.standing({ id: 'm2', isActive: true, isCaughtUp: false });
  await settled();
  t.same(replica.members.learners, ['m2']);
  replica.standing(healthy('m2'));
  await settled();
  t.same(replica.members, { voters: ['m1', 'm2'], learners: [] });
  t.same(said, ["node m2 receives the managers' log, to become a manager", 'node m2 is a manager now']);
});

t.test('a manager that is to be one no more is taken out, and its record says so in the same entry', async (t) => {
  const { replica, said } = await lead(t, ['m2', 'm3']);
  const before = replica.entries.length;
  replica.apply([want('m3', 'worker')]);
  await settled();
  t.same(replica.members.voters, ['m1', 'm2']);
  t.match(replica.entries.slice(before + 1), [
    { guards: [], changes: [{ type: 'node-role', id: 'm3', role: 'worker' }] },
  ]);
  t.same(said, ['node m3 is a manager no more']);
});

t.test('a leader that is to be no manager any more hands over, and the next leader takes it out', async (t) => {
  const { replica, said } = await lead(t, ['m2', 'm3']);
  replica.apply([want('m1', 'worker')]);
  await settled();
  t.equal(replica.leadership.role, 'follower');
  t.same(replica.memberChanges, []);
  t.match(said, [/^handing leadership to m2/]);
  replica.apply([want('m3', 'worker')]);
  await settled();
  t.same(replica.memberChanges, [], 'who follows plans nothing');
});

t.test('a manager that says another address gets it on record, from the leader alone', async (t) => {
  const { replica, loop } = await lead(t, ['m2', 'm3']);
  const before = replica.entries.length;
  loop.noteAddress('m2', 'm2:2377');
  loop.noteAddress('nobody', 'x:1');
  await settled();
  t.equal(replica.entries.length, before, 'nothing that is known, nor of who is none');
  loop.noteAddress('m2', 'moved:2377');
  await settled();
  t.equal(replica.view.node('m2')?.managerAddr, 'moved:2377');
  replica.become({ role: 'follower', term: 2, leaderId: 'm2' });
  loop.noteAddress('m2', 'again:2377');
  replica.become({ role: 'leader', term: 3 });
  await settled();
  t.equal(replica.view.node('m2')?.managerAddr, 'moved:2377', 'what was said before is for the leader of then');
});

t.test('how managers are heard of is written down', async (t) => {
  const { replica, clock } = await lead(t, ['m2']);
  t.equal(replica.view.node('m2')?.reachability, 'reachable');
  replica.standing({ id: 'm2', isActive: false, isCaughtUp: false });
  await settled();
  t.equal(replica.view.node('m2')?.reachability, 'reachable', 'not every blink');
  clock.advance(5_000);
  await settled();
  t.equal(replica.view.node('m2')?.reachability, 'unreachable');
});

t.test('what would lose the quorum waits, is said once, and is done when it can be', async (t) => {
  const { replica, said, clock } = await lead(t, ['m2', 'm3']);
  replica.standing(healthy('m2'), { id: 'm3', isActive: false, isCaughtUp: false });
  await settled();
  replica.apply([want('m2', 'worker')]);
  for (let i = 0; i < 5; i++) {
    await settled();
    clock.advance(1_000);
  }
  await settled();
  t.same(replica.members.voters, ['m1', 'm2', 'm3']);
  t.match(said, [/^node m2 is still a manager: the quorum would be lost/]);
  t.equal(said.length, 1);
  replica.standing(healthy('m2'), healthy('m3'));
  await settled();
  t.same(replica.members.voters, ['m1', 'm3']);
});

t.test('a step that fails is tried again, ever more rarely, from a new plan', async (t) => {
  const { replica, clock, said } = await lead(t, ['m2', 'm3']);
  replica.refusal = new ApiaryError('unavailable', 'another change is under way');
  replica.apply([want('m3', 'worker')]);
  const triesAfter = async (durationMs: number) => {
    await settled();
    const before = replica.memberChanges.length;
    clock.advance(durationMs);
    await settled();
    return replica.memberChanges.length - before;
  };
  t.equal(await triesAfter(0), 0);
  t.equal(await triesAfter(99), 0);
  t.equal(await triesAfter(1), 1);
  t.equal(await triesAfter(199), 0);
  t.equal(await triesAfter(1), 1);
  t.match(said, [/^managers: another change is under way/]);
  replica.refusal = undefined;
  replica.apply([want('m3', 'manager')]);
  t.equal(await triesAfter(60_000), 0, 'it is wanted no more');
});

t.test('a new leader plans only once it has all that was committed before', async (t) => {
  const { replica, clock } = await lead(t, ['m2', 'm3']);
  replica.become({ role: 'follower', term: 2, leaderId: 'm2' });
  replica.barrierFailure = new ApiaryError('unavailable', 'not confirmed');
  replica.members = { voters: ['m1', 'm2', 'm3', 'm4'], learners: [] };
  replica.become({ role: 'leader', term: 3 });
  await settled();
  t.same(replica.memberChanges, [], 'm4, which has no record here yet, is not taken for one that was removed');
  replica.barrierFailure = undefined;
  replica.beforeBarrier = () => replica.apply([{ type: 'node-create', node: node('m4', 'manager') }]);
  clock.advance(100);
  await settled();
  t.same(replica.memberChanges, []);
  t.ok(replica.view.node('m4'));
});

t.test('what a deposed leader had planned is not written by it', async (t) => {
  const { replica, clock } = await lead(t, ['m2', 'm3']);
  clock.advance(60_000);
  let release = () => {};
  replica.gate = new Promise((resolve) => {
    release = resolve;
  });
  replica.standing(healthy('m2'), { id: 'm3', isActive: false, isCaughtUp: false });
  await settled();
  replica.become({ role: 'follower', term: 2, leaderId: 'm3' });
  release();
  await settled();
  t.equal(replica.view.node('m3')?.reachability, 'reachable');
});

t.test('a bug stops the loop, and is said', async (t) => {
  let fatal: unknown;
  await lead(t, [], {
    plan: () => {
      throw new TypeError('a bug');
    },
    onFatal: (error) => {
      fatal = error;
    },
  });
  t.match(fatal, { message: 'a bug' });
});
