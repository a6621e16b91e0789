import type { MemberId, Message } from '@apiary/raft/core';
import type { Cluster } from './cluster.js';

/**
 * Plots of an adversary: sequences that chance alone would seldom bring about. Each does only what a network, a power
 * cut or an operator may do.
 */
export class Plots {
  readonly #cluster: Cluster;
  readonly #later: (delayMs: number, run: () => void) => void;

  /** @param later does nothing any more once the faults are over */
  constructor(cluster: Cluster, later: (delayMs: number, run: () => void) => void) {
    this.#cluster = cluster;
    this.#later = later;
  }

  /**
   * Two are asked to take over, and campaign in one term. Their requests come twice, and a voter that has granted one
   * loses power before the other comes again.
   */
  doubleVote(): boolean {
    const { leader, members, network, chance } = this.#cluster;
    const others = (leader?.status.membership.voters ?? []).filter((id) => id !== leader?.id);
    const first = chance.pick(others);
    const second = chance.pick(others.filter((id) => id !== first));
    if (leader === undefined || first === undefined || second === undefined) return false;
    this.#cluster.tell(`${leader.id} hands over to ${first} and to ${second}`);
    for (const { id } of members) {
      if (id !== leader.id) network.cut(first, id);
      if (id !== leader.id) network.cut(second, id);
    }
    this.#cluster.onSend = (message) => {
      if (message.type === 'vote-request') this.#later(chance.between(10, 70), () => network.send(message));
      this.forgetVote(message, 80);
    };
    leader.transfer(first);
    leader.transfer(second);
    this.#later(300, () => {
      this.#cluster.onSend = () => {};
      network.heal();
    });
    return true;
  }

  /** Who has just given its vote loses power, and is soon back. */
  forgetVote(message: Message, percent: number): void {
    const { chance } = this.#cluster;
    if (message.type !== 'vote-response' || !message.isGranted || !chance.percent(percent)) return;
    this.#later(chance.between(0, 3), () => {
      const member = this.#cluster.member(message.from);
      member?.cutPower(`${message.from} loses power after it has voted`);
      this.#later(chance.between(0, 2), () => member?.start());
    });
  }

  /**
   * Figure 8 of the Raft paper. A leader and one follower have an entry; a second leader has another in its place, and
   * nobody else; a third brings the first entry to a majority, and no entry of its own; then the second comes back.
   */
  figureEight(): boolean {
    const { leader, chance } = this.#cluster;
    const others = (leader?.status.membership.voters ?? []).filter((id) => id !== leader?.id);
    const confidant = chance.pick(others);
    if (leader === undefined || confidant === undefined || others.length < 4) return false;
    const { lastIndex, term } = leader.status;
    this.#cluster.tell(`${leader.id} is heard by ${confidant} only`);
    for (const id of others) if (id !== confidant) this.#cluster.network.cut(leader.id, id);
    leader.write({ key: 'plot', value: `p${term}-${lastIndex}` }, () => {});
    this.#later(30, () => this.#replace([leader.id, confidant], term, lastIndex + 1));
    return true;
  }

  #replace(holders: MemberId[], term: number, index: number): void {
    const { network } = this.#cluster;
    for (const id of holders) this.#isolate(id);
    let second: MemberId | undefined;
    this.#cluster.onSend = (message) => {
      if (message.type !== 'append-request' || message.term <= term || holders.includes(message.from)) return;
      second = message.from;
      this.#isolate(second);
    };
    this.#await(
      () => second !== undefined,
      () => {
        network.heal();
        if (second !== undefined) this.#bringBack(holders, second, index);
      },
    );
  }

  /** A holder leads again, and whoever has the entry hears nothing more of it. */
  #bringBack(holders: MemberId[], second: MemberId, index: number): void {
    const { network } = this.#cluster;
    this.#isolate(second);
    let copies = 0;
    let third: MemberId | undefined;
    this.#cluster.onSend = (message) => {
      if (message.type !== 'append-response' || message.outcome.type !== 'accepted' || !holders.includes(message.to))
        return;
      if (holders.includes(message.from) || message.outcome.matchIndex < index) return;
      copies++;
      third = message.to;
      network.cut(message.to, message.from);
    };
    this.#await(
      () => copies > 0,
      () => {
        this.#later(20, () => {
          this.#cluster.tell(`${second} is back, and ${third} is not heard`);
          network.heal();
          for (const id of holders) this.#isolate(id);
          this.#later(2500, () => network.heal());
        });
      },
    );
  }

  /** A leader hands over, and hears nothing of its heir: all it knows is its lease. */
  suddenHeir(): boolean {
    const { leader, chance, network } = this.#cluster;
    const to = chance.pick((leader?.status.membership.voters ?? []).filter((id) => id !== leader?.id));
    if (leader === undefined || to === undefined) return false;
    this.#cluster.tell(`${leader.id} hands over to ${to}, and is cut off`);
    this.#cluster.onSend = (message) => {
      if (message.type === 'timeout-now' && message.from === leader.id) this.#later(0, () => this.#isolate(leader.id));
    };
    leader.transfer(to);
    this.#later(chance.between(400, 1500), () => {
      this.#cluster.onSend = () => {};
      network.heal();
    });
    return true;
  }

  /** A leader, cut off, writes more than the others do; then it is sent their snapshot, and loses power once it has it. */
  overtaken(): boolean {
    const { leader, chance, network } = this.#cluster;
    if (leader === undefined || leader.status.membership.voters.length < 3) return false;
    const { lastIndex, term } = leader.status;
    this.#cluster.tell(`${leader.id} writes for itself`);
    this.#isolate(leader.id);
    for (let i = 0; i < 100; i++) leader.write({ key: 'plot', value: `o${term}-${lastIndex}-${i}` }, () => {});
    this.#later(chance.between(800, 3500), () => {
      network.heal();
      this.#cluster.onSend = (message) => {
        const isAnswer = message.type === 'append-response' && message.outcome.type === 'accepted';
        if (!isAnswer || message.from !== leader.id) return;
        this.#cluster.onSend = () => {};
        this.#later(0.1, () => {
          const member = this.#cluster.member(leader.id);
          member?.cutPower(`${leader.id} loses power when it has caught up`);
          this.#later(chance.between(0, 300), () => member?.start());
        });
      };
    });
    return true;
  }

  #isolate(id: MemberId): void {
    for (const { id: other } of this.#cluster.members) {
      this.#cluster.network.cut(id, other);
      this.#cluster.network.cut(other, id);
    }
    this.#cluster.hint(id);
  }

  /** Looks every few milliseconds, for a few seconds; then all links work again. */
  #await(isReached: () => boolean, then: () => void, triesLeft = 300): void {
    if (isReached() || triesLeft === 0) {
      this.#cluster.onSend = () => {};
      if (isReached()) then();
      else this.#cluster.network.heal();
      return;
    }
    this.#later(10, () => this.#await(isReached, then, triesLeft - 1));
  }
}
