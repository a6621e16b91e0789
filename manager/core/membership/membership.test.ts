import assert from 'node:assert/strict';
import { changeMembership, type Membership } from '@apiary/raft/core';
import { ApiaryError, SeededRng } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import { type Decision, initCluster, leaveAsManager, removeNode, updateNode } from '../requests/index.js';
import { type Change, type Entry, effectiveRole, type NodeRecord, Store } from '../store/index.js';
import { forceNewCluster, type MembershipStep, planMembership, REACHABILITY_HOLD_MS } from './index.js';

const ADDR = '10.0.0.1:2377';
const NODE_IDS = ['n0', 'n1', 'n2', 'n3', 'n4', 'n5'];

/**
 * The managers' log with its membership, one leader at a time, and the state that it makes. Entries are appended,
 * committed and applied apart from each other, and what is not committed may be lost with its leader.
 */
class Managers {
  readonly store = new Store();
  readonly active = new Set(NODE_IDS);
  readonly caughtUp = new Set(NODE_IDS);
  leader = 'n0';
  nowMs = 1_000;
  #log: { entry: Entry; membership?: Membership }[] = [];
  #committed = 0;
  #joined = 0;
  /** By index, as far as it is applied. */
  #appliedMembership: Membership = { voters: ['n0'], learners: [] };

  constructor() {
    const rootCa = { certificatePem: 'C', keyPem: 'K' };
    const init = { nodeId: 'n0', rootCa, availability: 'active' as const, addr: '10.0.0.1', managerAddr: ADDR };
    this.append(initCluster(this.store, init, new SeededRng(1)));
    this.applyAll();
    for (const id of NODE_IDS.slice(1)) this.join(id, 'worker');
    this.applyAll();
  }

  /** By the newest entry, applied or not. */
  get members(): Membership {
    return this.#log.findLast((each) => each.membership !== undefined)?.membership ?? { voters: ['n0'], learners: [] };
  }

  append({ guards, changes }: Pick<Decision<unknown>, 'guards' | 'changes'>, membership?: Membership): void {
    if (changes.length === 0 && membership === undefined) return;
    const entry = { atMs: this.nowMs, guards, changes };
    this.#log.push(membership === undefined ? { entry } : { entry, membership });
  }

  join(id: string, Role: 'worker' | 'manager'): void {
    const status = { state: 'down' as const, message: '', addr: '' };
    const spec = { Role, Availability: 'active' as const };
    const managerAddr = Role === 'manager' ? { managerAddr: ADDR } : {};
    const node = { id, spec, role: 'worker' as const, status, ...managerAddr };
    this.append({ guards: [], changes: [{ type: 'node-create', node }] });
  }

  joinAnother(): void {
    this.#joined++;
    const id = `j${this.#joined}`;
    this.active.add(id);
    this.caughtUp.add(id);
    this.join(id, 'manager');
  }

  /** What a request decides on the state as it is applied now; it may land much later. */
  request(decide: (view: Store) => Decision<unknown>): void {
    try {
      this.append(decide(this.store));
    } catch (error) {
      if (!(error instanceof ApiaryError)) throw error;
    }
  }

  setRole(id: string, Role: 'worker' | 'manager', force = false): void {
    const version = this.store.node(id)?.meta.version ?? 0;
    const spec = { Role, Availability: 'active' as const };
    this.request((view) => updateNode(view, { id, version, spec, force }));
  }

  commit(count: number): void {
    if (this.#hasQuorum(this.members)) this.#committed = Math.min(this.#log.length, this.#committed + count);
  }

  applyOne(): void {
    const index = this.store.appliedIndex + 1;
    const { entry, membership } = this.#log[index - 1] ?? {};
    if (index > this.#committed || entry === undefined) return;
    this.store.apply(index, entry);
    if (membership !== undefined) this.#appliedMembership = membership;
    this.#checkRoles();
  }

  applyAll(): void {
    this.commit(this.#log.length);
    while (this.store.appliedIndex < this.#committed) this.applyOne();
  }

  /** Another voter leads: it keeps `kept` of the entries that are not committed, and begins with all of its log. */
  elect(chosen: number, kept: number): void {
    const voters = this.members.voters.filter((id) => this.active.has(id));
    const leader = voters[chosen % voters.length];
    if (leader === undefined || !this.#hasQuorum(this.members)) return;
    this.#log = this.#log.slice(0, this.#committed + kept);
    this.leader = this.members.voters.includes(leader) ? leader : (this.members.voters[0] ?? leader);
    this.applyAll();
  }

  plan() {
    const { members, leader: selfId } = this;
    const peers = [...members.voters, ...members.learners]
      .filter((id) => id !== selfId)
      .map((id) => ({ id, isActive: this.active.has(id), isCaughtUp: this.caughtUp.has(id) }));
    return planMembership(this.store, { members, peers, selfId }, this.nowMs);
  }

  /** Plans, and does what is planned as far as the log lets it. */
  step(): boolean {
    // A leader that is cut off, or was removed, leads no more.
    if (!this.active.has(this.leader) || !this.members.voters.includes(this.leader)) return false;
    const { changes, step } = this.plan();
    this.append({ guards: [], changes });
    if (step !== undefined) this.#take(step);
    return changes.length > 0 || step !== undefined;
  }

  #take(step: MembershipStep): void {
    if (step.type === 'transfer') {
      assert.ok(this.members.voters.includes(step.to) && step.to !== this.leader && this.active.has(step.to));
      this.applyAll();
      this.leader = step.to;
      return;
    }
    const last = this.#log.findLastIndex((each) => each.membership !== undefined) + 1;
    if (last > this.#committed) return;
    const { type, member, changes } = step;
    const membership = changeMembership(this.members, { type, member });
    assert.ok(typeof membership !== 'string', `${type} ${member}: ${String(membership)}`);
    assert.notEqual(member, step.type === 'remove' ? this.leader : undefined, 'a leader does not remove itself');
    if (type === 'promote') assert.equal(this.store.node(member)?.spec.Role, 'manager');
    const isForced = step.type === 'remove' && step.isForced;
    if (isForced) assert.ok(this.store.node(member)?.departure?.isForced);
    else if (step.type !== 'add-learner') {
      assert.ok(this.#hasQuorum(membership) || !this.#hasQuorum(this.members), `${type} ${member} costs the quorum`);
    }
    this.append({ guards: [], changes }, membership);
  }

  #hasQuorum({ voters }: Membership): boolean {
    return voters.filter((id) => this.active.has(id)).length > voters.length / 2;
  }

  /** The invariant of README.md. */
  #checkRoles(): void {
    const { voters, learners } = this.#appliedMembership;
    for (const { id, role } of this.store.nodes()) {
      assert.equal(role === 'manager', voters.includes(id) || learners.includes(id), `role of ${id}: ${role}`);
    }
    assert.ok(voters.length > 0);
  }
}

const node = fc.constantFrom(...NODE_IDS);
const isYes = fc.boolean();
/** What may happen, and what it does. */
const event: fc.Arbitrary<(managers: Managers) => void> = fc.oneof(
  { weight: 3, arbitrary: node.map((id) => (m: Managers) => m.setRole(id, 'manager')) },
  {
    weight: 3,
    arbitrary: fc.tuple(node, isYes).map(
      ([id, force]) =>
        (m: Managers) =>
          m.setRole(id, 'worker', force),
    ),
  },
  fc.tuple(node, isYes).map(
    ([id, force]) =>
      (m: Managers) =>
        m.request((view) => removeNode(view, { id, force })),
  ),
  node.map((id) => (m: Managers) => m.request((view) => leaveAsManager(view, { id, force: true }))),
  // What a removal that was decided long ago would do without its guard.
  node.map((id) => (m: Managers) => m.append({ guards: [], changes: [{ type: 'node-delete', id }] })),
  fc.constant((m: Managers) => m.joinAnother()),
  {
    weight: 3,
    arbitrary: node.map(
      (id) => (m: Managers) =>
        m.append({ guards: [], changes: [{ type: 'node-manager-addr', id, managerAddr: ADDR }] }),
    ),
  },
  fc.tuple(node, isYes, isYes).map(([id, isActive, isCaughtUp]) => (m: Managers) => {
    if (isActive) m.active.add(id);
    else m.active.delete(id);
    if (isCaughtUp) m.caughtUp.add(id);
    else m.caughtUp.delete(id);
  }),
  { weight: 6, arbitrary: fc.constant((m: Managers) => void m.step()) },
  { weight: 4, arbitrary: fc.nat(6).map((count) => (m: Managers) => m.commit(count)) },
  { weight: 6, arbitrary: fc.constant((m: Managers) => m.applyOne()) },
  { weight: 2, arbitrary: fc.constant((m: Managers) => m.applyAll()) },
  fc.tuple(fc.nat(5), fc.nat(3)).map(
    ([chosen, kept]) =>
      (m: Managers) =>
        m.elect(chosen, kept),
  ),
  fc.nat(9_000).map((ms) => (m: Managers) => {
    m.nowMs += ms;
  }),
);
const events = fc.array(event, { minLength: 5, maxLength: 120, size: 'max' });

/** All is well from here on: how many plans until there is nothing left to plan. */
function settle(managers: Managers): number {
  const members = () => [...managers.members.voters, ...managers.members.learners];
  for (const id of [...NODE_IDS, ...members()]) {
    managers.active.add(id);
    managers.caughtUp.add(id);
  }
  managers.elect(0, 3);
  for (let plans = 1; ; plans++) {
    assert.ok(plans < 60, 'it goes on and on');
    managers.applyAll();
    if (!managers.members.voters.includes(managers.leader)) managers.elect(0, 0);
    if (managers.step()) continue;
    const { againAtMs } = managers.plan();
    if (againAtMs === undefined) return plans;
    assert.ok(againAtMs > managers.nowMs);
    managers.nowMs = againAtMs;
  }
}

t.test('role and membership agree whatever lands when, and the members become those that are wanted', async () => {
  const everSeen = { members: 0, removed: 0, excluded: 0 };
  fc.assert(
    fc.property(events, (story) => {
      const managers = new Managers();
      for (const happens of story) happens(managers);
      settle(managers);
      const { store, members } = managers;
      const isReady = ({ managerAddr }: NodeRecord) => managerAddr !== undefined;
      const wanted = store.nodes().filter((each) => each.spec.Role === 'manager' && isReady(each));
      assert.deepEqual(
        members.voters,
        wanted.map(({ id }) => id),
      );
      assert.deepEqual(members.learners, []);
      for (const record of store.nodes()) {
        assert.equal(record.departure, undefined);
        assert.equal(record.reachability, record.role === 'manager' ? 'reachable' : undefined);
        if (effectiveRole(record) === 'manager') assert.equal(store.cluster()?.excluded?.[record.id], undefined);
      }
      everSeen.members = Math.max(everSeen.members, members.voters.length);
      everSeen.removed += NODE_IDS.filter((id) => store.node(id) === undefined).length;
      everSeen.excluded += Object.keys(store.cluster()?.excluded ?? {}).length;
    }),
    { numRuns: 600 },
  );
  assert.ok(everSeen.members >= 4 && everSeen.removed > 50 && everSeen.excluded > 50, JSON.stringify(everSeen));
});

/** The state of a cluster whose managers are these, all of them voters; `n0` leads. */
function clusterOf(voters: string[]): Managers {
  const managers = new Managers();
  for (const id of voters) {
    managers.setRole(id, 'manager');
    managers.append({ guards: [], changes: [{ type: 'node-manager-addr', id, managerAddr: ADDR }] });
  }
  managers.applyAll();
  settle(managers);
  assert.deepEqual(managers.members.voters, voters);
  managers.leader = 'n0';
  return managers;
}

const stepOf = (managers: Managers) => {
  managers.applyAll();
  const { step } = managers.plan();
  return step === undefined ? 'none' : `${step.type} ${'member' in step ? step.member : step.to}`;
};

t.test('a manager is added, catches up, and only then is another let go', async (t) => {
  const managers = clusterOf(['n0', 'n1', 'n2']);
  managers.caughtUp.delete('n3');
  managers.setRole('n3', 'manager');
  managers.setRole('n2', 'worker');
  t.equal(stepOf(managers), 'remove n2', 'a node that says no address is not waited for');
  managers.append({ guards: [], changes: [{ type: 'node-manager-addr', id: 'n3', managerAddr: ADDR }] });
  t.equal(stepOf(managers), 'add-learner n3');
  managers.step();
  t.equal(stepOf(managers), 'none');
  const { waiting, againAtMs } = managers.plan();
  t.same(waiting, [{ member: 'n2', reason: 'manager n3 is catching up, and comes first' }]);
  t.equal(againAtMs, managers.nowMs + 30_000);
  managers.nowMs += 30_000;
  t.equal(stepOf(managers), 'remove n2', 'it had its time');
  managers.caughtUp.add('n3');
  t.equal(stepOf(managers), 'promote n3');
  managers.step();
  t.equal(stepOf(managers), 'remove n2');
  managers.step();
  t.equal(stepOf(managers), 'none');
  t.same(managers.members, { voters: ['n0', 'n1', 'n3'], learners: [] });
});

t.test('the leader hands over before it goes', async (t) => {
  const managers = clusterOf(['n0', 'n1', 'n2']);
  managers.setRole('n0', 'worker');
  managers.caughtUp.delete('n1');
  t.equal(stepOf(managers), 'transfer n2', 'to one that has all of the log');
  managers.active.delete('n2');
  t.equal(stepOf(managers), 'none', 'not while the quorum would be lost');
  t.match(managers.plan().waiting, [
    { member: 'n0', reason: 'the quorum would be lost: of the 2 voters left, 1 are heard from where 2 must be' },
  ]);
  managers.active.add('n2');
  managers.setRole('n2', 'worker');
  t.equal(stepOf(managers), 'remove n2', 'others first');
  managers.step();
  t.equal(stepOf(managers), 'transfer n1');
});

t.test('a removal that costs the quorum is done by force alone, and that of a lost manager without', async (t) => {
  const managers = clusterOf(['n0', 'n1', 'n2']);
  managers.setRole('n1', 'worker');
  managers.active.delete('n2');
  t.equal(stepOf(managers), 'none');
  t.match(managers.plan().waiting, [{ member: 'n1', reason: /^the quorum would be lost/ }]);
  managers.setRole('n1', 'worker', true);
  t.equal(stepOf(managers), 'remove n1');
  t.match(managers.plan().step, { isForced: true, changes: [{ type: 'node-role', id: 'n1', role: 'worker' }] });
  managers.setRole('n1', 'manager');
  t.equal(stepOf(managers), 'none');
  managers.setRole('n2', 'worker');
  t.equal(stepOf(managers), 'remove n2');
  t.match(managers.plan().step, { isForced: false });
});

t.test('a manager that is heard of on and off is written down now and then', async (t) => {
  const managers = clusterOf(['n0', 'n1', 'n2']);
  managers.nowMs += REACHABILITY_HOLD_MS;
  let written = 0;
  for (let i = 0; i < 600; i++) {
    managers.nowMs += 100;
    if (i % 2 === 0) managers.active.delete('n2');
    else managers.active.add('n2');
    written += managers.plan().changes.length;
    managers.step();
    managers.applyAll();
  }
  t.ok(written >= 2 && written <= 13, `${written} changes in a minute`);
  managers.active.delete('n2');
  managers.nowMs += REACHABILITY_HOLD_MS;
  managers.step();
  managers.applyAll();
  t.equal(managers.store.node('n2')?.reachability, 'unreachable');
  managers.nowMs += REACHABILITY_HOLD_MS;
  managers.active.add('n2');
  managers.caughtUp.delete('n2');
  t.same(managers.plan().changes, [], 'a word alone is not enough: a new leader takes all as heard of');
  managers.caughtUp.add('n2');
  t.match(managers.plan().changes, [{ type: 'node-reachability', id: 'n2', reachability: 'reachable' }]);
});

t.test('a node that was never heard of is not said to be lost before it had time to come', async (t) => {
  const managers = clusterOf(['n0']);
  managers.active.delete('n1');
  managers.setRole('n1', 'manager');
  managers.append({ guards: [], changes: [{ type: 'node-manager-addr', id: 'n1', managerAddr: ADDR }] });
  managers.applyAll();
  managers.step();
  managers.applyAll();
  t.match(managers.store.node('n1'), { role: 'manager', reachability: undefined });
  t.match(managers.plan(), { changes: [], againAtMs: managers.nowMs + REACHABILITY_HOLD_MS });
  managers.active.add('n1');
  t.match(managers.plan().changes, [{ id: 'n1', reachability: 'reachable' }]);
});

t.test('who does not lead, or leads nothing yet, plans nothing', async (t) => {
  const { store } = clusterOf(['n0', 'n1']);
  const members = { voters: ['n1'], learners: ['n0'] };
  t.same(planMembership(store, { members, peers: [], selfId: 'n0' }, 1), { changes: [], waiting: [] });
  const alone = { members: { voters: ['n0'], learners: [] }, peers: [], selfId: 'n0' };
  t.same(planMembership(new Store(), alone, 1), { changes: [], waiting: [] });
});

t.test('one manager is left of any cluster that is begun anew, and the same changes change nothing more', async () => {
  const self = { managerAddr: '10.0.0.7:2377', addr: '10.0.0.7' };
  fc.assert(
    fc.property(events, fc.constantFrom(...NODE_IDS, 'another'), (story, selfId) => {
      const managers = new Managers();
      for (const happens of story) happens(managers);
      const { store } = managers;
      const before = store.nodes().filter((each) => each.id !== selfId && effectiveRole(each) === 'manager');
      const apply = (changes: Change[]) => store.apply(store.appliedIndex + 1, { atMs: 7e6, guards: [], changes });
      apply(forceNewCluster(store, selfId, self));
      assert.deepEqual(
        store.nodes().filter((each) => effectiveRole(each) === 'manager'),
        [store.node(selfId)],
      );
      const { role, spec, reachability, managerAddr, status } = store.node(selfId) as NodeRecord;
      assert.deepEqual([role, spec.Role, reachability], ['manager', 'manager', 'reachable']);
      assert.deepEqual({ managerAddr, addr: status.addr }, self);
      for (const { id } of before) assert.equal(store.cluster()?.excluded?.[id], 7e6);
      assert.equal(store.cluster()?.excluded?.[selfId], undefined);
      assert.deepEqual(forceNewCluster(store, selfId, self), []);
      const alone = { members: { voters: [selfId], learners: [] }, peers: [], selfId };
      assert.deepEqual(planMembership(store, alone, 8e6), { changes: [], waiting: [] });
    }),
    { numRuns: 200 },
  );
});
