import { changeMembership, type MemberId, type Membership, type MembershipChange } from '@apiary/raft/core';
import type { Cluster } from './cluster.js';

const MAX_VOTERS = 7;

/**
 * Changes who takes part, as the people who run a cluster do: adds machines, promotes, demotes, removes, often in quick
 * succession, hands leadership over, and replaces members whose disk is damaged.
 */
export class Operator {
  /** Whether it does more than replace what is broken. */
  isBusy = true;
  changes = 0;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Makes a change, if there is a leader that takes it; now and then several at once. */
  act(): void {
    const count = this.isBusy && this.#cluster.chance.percent(25) ? 4 : 1;
    for (let i = 0; i < count; i++) this.#actOnce();
  }

  #actOnce(): void {
    const { leader, members, chance } = this.#cluster;
    if (leader === undefined) return;
    const { membership } = leader.status;
    const all = [...membership.voters, ...membership.learners];
    this.#retire(all);
    const broken = members.find(({ id, state }) => state === 'refused' && all.includes(id));
    if (broken !== undefined) {
      this.#change(membership, { type: 'remove', member: broken.id }, true);
      return;
    }
    const [learner] = membership.learners;
    // With one member lost, nobody sensible takes another away.
    const mayShrink = members.every(({ isCorrupted, id }) => !isCorrupted || !all.includes(id));
    if (!this.isBusy || !mayShrink) {
      // What is left is a cluster that can be waited for.
      if (learner !== undefined) this.#change(membership, { type: 'promote', member: learner }, false);
      return;
    }
    switch (chance.rng.below(6)) {
      case 0:
      case 1:
        if (membership.voters.length < MAX_VOTERS && membership.learners.length < 2) this.#add(membership);
        return;
      case 2:
        if (learner !== undefined) this.#change(membership, { type: 'promote', member: learner }, false);
        return;
      case 3:
        this.#changeAny(membership, 'demote');
        return;
      case 4:
        if (all.length > 3) this.#changeAny(membership, chance.percent(70) ? 'remove' : 'demote');
        return;
      case 5: {
        const to = chance.pick(membership.voters);
        if (to === undefined || to === leader.id) return;
        this.#cluster.tell(`the operator asks ${leader.id} to hand over to ${to}`);
        leader.transfer(to);
      }
    }
  }

  #changeAny(membership: Membership, type: 'demote' | 'remove'): void {
    const member = this.#cluster.chance.pick(
      type === 'demote' ? membership.voters : [...membership.voters, ...membership.learners],
    );
    if (member !== undefined) this.#change(membership, { type, member }, false);
  }

  #add(membership: Membership): void {
    // One that was demoted or never got in is used again, otherwise a new one.
    const known = [...membership.voters, ...membership.learners];
    const idle = this.#cluster.members.find(({ id, state }) => state === 'running' && !known.includes(id));
    const member = idle ?? this.#cluster.addMember(undefined);
    member.start();
    this.#change(membership, { type: 'add-learner', member: member.id }, false);
  }

  #change(membership: Membership, change: MembershipChange, isForced: boolean): void {
    const next = changeMembership(membership, change);
    if (typeof next === 'string') return;
    const { leader } = this.#cluster;
    const result = leader?.changeMembership(change, Buffer.from(JSON.stringify(next)), isForced);
    if (result?.type === 'accepted') this.changes++;
    const answer = result?.type === 'refused' ? `refused: ${result.reason}` : 'accepted';
    this.#cluster.tell(`the operator asks ${leader?.id} to ${change.type} ${change.member}: ${answer}`);
  }

  /** Takes away what a committed change has removed; some of it runs on for a while. */
  #retire(known: readonly MemberId[]): void {
    const { members, leader, chance } = this.#cluster;
    if (leader === undefined || leader.status.peers.length + 1 < known.length) return;
    const { roles, index } = leader.machine;
    if (index < leader.status.lastIndex) return;
    for (const member of members) {
      const isMember =
        known.includes(member.id) || roles.voters.includes(member.id) || roles.learners.includes(member.id);
      if (isMember || !chance.percent(30)) continue;
      // A machine that was just added waits for its first change.
      if (member.state === 'running' && member.process?.machine.index === 0) continue;
      member.stop(`${member.id} is removed, and taken away`);
      member.isRetired = true;
    }
  }
}
