import assert from 'node:assert/strict';
import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import type { Test } from 'tap';
import type { MemberId, MembershipChange } from '../core/index.js';
import { ReplicatedLog, type ReplicatedLogOptions, type Start } from './index.js';
import { Ledger } from './log-conformance.js';
import { MemoryNetwork } from './memory-network.js';
import { SimulatedDisk } from './simulated-disk.js';

export const CLUSTER = 'c1';

export const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

export interface Member {
  id: MemberId;
  log: ReplicatedLog;
  ledger: Ledger;
  disk: SimulatedDisk;
  told: string[];
}

/** Members of one process, on disks in memory, in virtual time: it passes only while a test waits for something. */
export class Cluster {
  readonly clock = new VirtualClock();
  readonly network = new MemoryNetwork();
  readonly members = new Map<MemberId, Member>();
  readonly #options: Partial<ReplicatedLogOptions>;
  #seed: number;

  constructor(options: Partial<ReplicatedLogOptions> = {}, seed = 1) {
    this.#options = options;
    this.#seed = seed;
  }

  /** A cluster of `m1` and so many others, all of them voters. */
  static async of(t: Test, count: number, options: Partial<ReplicatedLogOptions> = {}): Promise<Cluster> {
    const cluster = new Cluster(options);
    t.teardown(() => cluster.close());
    await cluster.grow(count);
    return cluster;
  }

  async grow(count: number): Promise<void> {
    await this.start('m1', 'bootstrap');
    for (let i = 2; i <= count; i++) await this.add(`m${i}`);
  }

  async start(id: MemberId, start: Start, options: Partial<ReplicatedLogOptions> = {}): Promise<Member> {
    const disk = this.members.get(id)?.disk ?? new SimulatedDisk(new SeededRng(this.#seed++));
    const told: string[] = [];
    const keep = (_fields: object, message: string) => told.push(message);
    const log = new ReplicatedLog({
      directory: `/${id}`,
      identity: { clusterId: CLUSTER, memberId: id },
      start,
      transport: this.network.transport(id),
      clock: this.clock,
      rng: new SeededRng(this.#seed++),
      files: disk.mount(),
      logger: { info: keep, warn: keep },
      ...this.#options,
      ...options,
    });
    const member = { id, log, ledger: new Ledger(), disk, told };
    this.members.set(id, member);
    await log.open(member.ledger);
    return member;
  }

  /** A new member, first as a learner, then with a vote. */
  async add(id: MemberId): Promise<Member> {
    const member = await this.start(id, 'join');
    await this.change({ type: 'add-learner', member: id });
    await this.until(() => this.leader.log.peers.some((peer) => peer.id === id && peer.isActive && peer.isCaughtUp));
    await this.change({ type: 'promote', member: id });
    await this.until(() => member.log.members.voters.includes(id));
    return member;
  }

  /** Once the change before is settled. */
  async change(change: MembershipChange, options: { isForced?: boolean } = {}): Promise<number> {
    for (;;) {
      try {
        const data = bytes(`${change.type} ${change.member}`);
        return await this.settle(this.leader.log.changeMembers(change, data, options));
      } catch (error) {
        if (!(error instanceof ApiaryError) || !/another change/.test(error.message)) throw error;
        await this.pass(20);
      }
    }
  }

  member(id: MemberId): Member {
    const member = this.members.get(id);
    assert.ok(member);
    return member;
  }

  /** Of those that say that they lead, the one of the newest term. */
  get leader(): Member {
    const leaders = [...this.members.values()].filter(({ log }) => log.leadership.role === 'leader');
    const [leader] = leaders.sort((a, b) => b.log.leadership.term - a.log.leadership.term);
    assert.ok(leader, 'nobody leads');
    return leader;
  }

  get followers(): Member[] {
    const { leader } = this;
    return [...this.members.values()].filter((member) => member !== leader);
  }

  /** Ends a process without a word. */
  kill(id: MemberId): Member {
    const member = this.member(id);
    member.disk.cutPower();
    this.network.end(id);
    this.members.delete(id);
    void member.log.close();
    return member;
  }

  async restart(killed: Member): Promise<Member> {
    this.members.set(killed.id, killed);
    return this.start(killed.id, 'resume');
  }

  isolate(id: MemberId): void {
    this.network.isolate(
      id,
      [...this.members.keys()].filter((other) => other !== id),
    );
  }

  async pass(durationMs: number): Promise<void> {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 10) {
      this.clock.advance(10);
      // Some turns, so that what is sent is heard, and what is written is durable.
      for (let i = 0; i < 6; i++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async until(holds: () => boolean, timeoutMs = 30_000): Promise<void> {
    for (const endMs = this.clock.now() + timeoutMs; !holds(); ) {
      assert.ok(this.clock.now() < endMs, 'waited in vain');
      await this.pass(10);
    }
  }

  /** The outcome of a promise, for which time has to pass. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const done = () => {
      isSettled = true;
    };
    promise.then(done, done);
    await this.until(() => isSettled);
    return promise;
  }

  async newLeader(): Promise<Member> {
    await this.until(() =>
      [...this.members.values()].some(({ log: { leadership } }) => {
        if (leadership.role !== 'leader') return false;
        return [...this.members.values()].every(({ log }) => log.leadership.term === leadership.term);
      }),
    );
    return this.leader;
  }

  /** All have all, and the same. */
  async agree(): Promise<string[]> {
    const logs = [...this.members.values()].filter(({ id }) => this.leader.log.members.voters.includes(id));
    for (const { log } of logs) await this.settle(log.barrier());
    const [first, ...others] = logs.map(({ ledger }) => ledger.entries);
    for (const other of others) assert.deepEqual(other, first);
    const texts = (first ?? []).map(({ text }) => text);
    assert.equal(new Set(texts).size, texts.length, 'something was done twice');
    return texts;
  }

  async close(): Promise<void> {
    for (const { log } of this.members.values()) await log.close();
  }
}
