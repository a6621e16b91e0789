import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MembershipChange, StateMachine } from '@apiary/raft/core';
import { ReplicatedLog } from '@apiary/raft/io';
import { SeededRng } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import t, { type Test } from 'tap';
import { createRootCa } from '../trust/authority.js';
import { identityOf, Noticeboard, TestMember } from './test-member.js';

const rootCa = createRootCa(Date.now());
const nothing = new Uint8Array(0);

/** Keeps what is applied, as text. */
class Diary implements StateMachine {
  lines: string[] = [];
  readonly board = new Noticeboard();

  apply(_index: number, entry: Uint8Array): void {
    if (entry.length > 0) this.lines.push(Buffer.from(entry).toString());
    this.board.noted();
  }

  snapshot(): Iterable<Uint8Array> {
    return this.lines.map((line) => Buffer.from(line));
  }

  restore(_index: number, pieces: Iterable<Uint8Array>): void {
    this.lines = [...pieces].map((piece) => Buffer.from(piece).toString());
    this.board.noted();
  }

  has(line: string): Promise<void> {
    return this.board.until(() => this.lines.includes(line));
  }
}

/** A member of the log as a process has it: what is on its disk goes on in the next one. */
class Member {
  readonly wire: TestMember;
  readonly diary = new Diary();
  readonly log: ReplicatedLog;

  constructor(folder: string, id: string, start: 'bootstrap' | 'join' | 'resume') {
    this.wire = new TestMember(identityOf(rootCa, id), { log: true });
    this.log = new ReplicatedLog({
      directory: join(folder, id),
      identity: { clusterId: 'c1', memberId: id },
      start,
      transport: this.wire.transport,
      clock: new SystemClock(),
      rng: new SeededRng(id.charCodeAt(1)),
      // Small, so that whoever was away for a while needs the snapshot.
      snapshots: { everyEntries: 200, keepEntries: 50 },
    });
  }

  async open(t: Test): Promise<void> {
    t.teardown(() => this.close());
    await this.wire.listen(t);
    await this.log.open(this.diary);
  }

  async close(): Promise<void> {
    await this.log.close();
    await this.wire.stop();
  }

  get leads(): boolean {
    return this.log.leadership.role === 'leader';
  }

  write(line: string): Promise<number> {
    return this.log.propose(Buffer.from(line));
  }
}

function led(members: Member[]): Promise<Member> {
  return new Promise((resolve) => {
    const stops: (() => void)[] = [];
    const look = (): void => {
      const leader = members.find((member) => member.leads);
      if (leader === undefined) return;
      for (const stop of stops) stop();
      resolve(leader);
    };
    for (const { log } of members) stops.push(log.onLeadership(look));
    look();
  });
}

t.test(
  'three logs over real wires: joining, writing on each, a leader lost, one back at another address',
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'apiary-wire-'));
    t.teardown(() => rm(folder, { recursive: true }));
    const one = new Member(folder, 'm1', 'bootstrap');
    await one.open(t);
    const members = [one];
    for (const id of ['m2', 'm3']) {
      const joiner = new Member(folder, id, 'join');
      await joiner.open(t);
      // Only the leader knows where the joiner is: the joiner is told where the leader is by the leader's own words.
      one.wire.records.set(id, joiner.wire.addr);
      const caughtUp = new Promise<void>((resolve) => {
        const stop = one.log.onMembers(() => {
          if (!one.log.peers.some((peer) => peer.id === id && peer.isCaughtUp && peer.isActive)) return;
          stop();
          resolve();
        });
      });
      const step = (type: MembershipChange['type']) => one.log.changeMembers({ type, member: id }, nothing);
      await step('add-learner');
      await caughtUp;
      await step('promote');
      members.push(joiner);
    }
    const [, two, three] = members;
    if (two === undefined || three === undefined) throw new Error('two have joined');
    two.wire.records.set('m3', three.wire.addr);
    three.wire.records.set('m2', two.wire.addr);

    const lines = Array.from({ length: 300 }, (_, i) => `line ${i}`);
    await Promise.all(lines.map((line, i) => members[i % 3]?.write(line)));
    await Promise.all(members.map(({ log }) => log.barrier()));
    for (const { diary } of members) t.same(new Set(diary.lines), new Set(lines));
    t.same(two.diary.lines, one.diary.lines);
    t.same(three.diary.lines, one.diary.lines);

    t.ok(one.leads);
    await one.close();
    const rest = [two, three];
    const leader = await led(rest);
    const other = leader === two ? three : two;
    await other.write('without the first');
    for (let round = 0; round < 5; round++) {
      const more = Array.from({ length: 60 }, (_, i) => `more ${round * 60 + i}`);
      await Promise.all(more.flatMap((line) => [leader.write(line), other.write(`and ${line}`)]));
    }

    const again = new Member(folder, 'm1', 'resume');
    again.wire.records.set('m2', two.wire.addr);
    again.wire.records.set('m3', three.wire.addr);
    await again.open(t);
    t.not(again.wire.addr, one.wire.addr);
    await again.diary.has('more 299');
    await again.write('back again');
    await Promise.all([two, three].map(({ diary }) => diary.has('back again')));
    t.equal(new Set(again.diary.lines).size, again.diary.lines.length, 'nothing is there twice');
    t.equal(again.diary.lines.length, 300 + 1 + 600 + 1);
  },
);
