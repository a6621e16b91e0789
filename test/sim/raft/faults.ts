import type { Cluster } from './cluster.js';
import type { Member } from './member.js';
import { FAIR_WEATHER } from './network.js';
import { Plots } from './plots.js';
import type { Process } from './process.js';

export const FAULTS = [
  'power-cut',
  'kill',
  'half-write',
  'blackout',
  'split',
  'one-way',
  'isolate-leader',
  'weather',
  'pause',
  'slow-disk',
  'failing-sync',
  'failing-truncate',
  'full-disk',
  'corruption',
  'clock',
  'storm',
  'duel',
  'double-vote',
  'figure-eight',
  'overtaken',
  'sudden-heir',
] as const;
export type Fault = (typeof FAULTS)[number];

/** Breaks what can break, one thing after the other, and mends it after a while. */
export class Faults {
  readonly counts = new Map<Fault, number>();
  readonly #cluster: Cluster;
  readonly #plots: Plots;
  readonly #clockSpread: { from: number; to: number };
  #isOver = false;
  #floods = 0;

  constructor(cluster: Cluster, clockSpread: { from: number; to: number }) {
    this.#cluster = cluster;
    this.#clockSpread = clockSpread;
    this.#plots = new Plots(cluster, (delayMs, run) => this.#later(delayMs, run));
  }

  cause(fault: Fault): void {
    if (this.#isOver || !this.#inflict(fault)) return;
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }

  /** Mends everything; what is damaged for good stays so. */
  end(): void {
    this.#isOver = true;
    const { network, members } = this.#cluster;
    this.#cluster.tell('all faults end');
    this.#cluster.onSend = () => {};
    network.heal();
    network.weather = FAIR_WEATHER;
    for (const member of members) {
      this.#mendDisk(member);
      member.clockFactor = 1;
      member.resume();
      member.start();
    }
  }

  #mendDisk(member: Member): void {
    member.diskMs = { from: 0.05, to: 1 };
    member.disk.capacityBytes = Number.POSITIVE_INFINITY;
    member.disk.failingSyncs = 0;
    member.disk.failingTruncates = 0;
    void member.disk.stopAfter(Number.POSITIVE_INFINITY);
  }

  /** @returns false when there was nothing to break */
  #inflict(fault: Fault): boolean {
    const { chance, members, network } = this.#cluster;
    const member = chance.pick(members.filter(({ state }) => state === 'running' || state === 'starting'));
    if (member === undefined) return false;
    const { id } = member;
    const tell = (words: string): void => this.#cluster.tell(words);
    switch (fault) {
      case 'power-cut':
        member.cutPower(`${id} loses power`);
        this.#restartLater([member]);
        return true;
      case 'kill':
        member.stop(`${id} is killed`);
        this.#restartLater([member]);
        return true;
      case 'half-write':
        this.#cutPowerInWrite(member);
        return true;
      case 'blackout':
        for (const each of members) each.cutPower(`${each.id} loses power, as all do`);
        this.#restartLater(members);
        return true;
      case 'split':
        this.#split();
        return true;
      case 'one-way':
        tell(`${id} is heard by nobody`);
        for (const other of members) network.cut(id, other.id);
        this.#healLater();
        return true;
      case 'isolate-leader':
        return this.#isolateLeader();
      case 'weather':
        network.weather = {
          lossPercent: chance.between(0, 20),
          duplicatePercent: chance.between(0, 20),
          latePercent: chance.between(0, 30),
          lateMs: chance.between(5, 600),
        };
        tell('the network gets worse');
        return true;
      case 'pause':
        tell(`${id} is paused`);
        member.pause();
        this.#later(chance.between(50, 3000), () => {
          tell(`${id} goes on`);
          member.resume();
        });
        return true;
      case 'corruption':
        return this.#corrupt(member);
      case 'clock': {
        member.clockFactor = chance.between(this.#clockSpread.from, this.#clockSpread.to);
        tell(`${id}'s clock runs ${member.clockFactor.toFixed(2)} times slower`);
        return true;
      }
      case 'storm':
        this.#storm();
        return true;
      case 'double-vote':
        return this.#plots.doubleVote();
      case 'figure-eight':
        return this.#plots.figureEight();
      case 'overtaken':
        return this.#plots.overtaken();
      case 'sudden-heir':
        return this.#plots.suddenHeir();
      case 'duel':
        tell('leaders follow each other quickly');
        this.#duel(4 + chance.rng.below(12));
        return true;
      default:
        this.#breakDisk(fault, member);
        return true;
    }
  }

  #breakDisk(fault: 'slow-disk' | 'failing-sync' | 'failing-truncate' | 'full-disk', member: Member): void {
    const { chance } = this.#cluster;
    const { id, disk } = member;
    const tell = (words: string): void => this.#cluster.tell(words);
    switch (fault) {
      case 'slow-disk':
        tell(`${id}'s disk is slow`);
        member.diskMs = { from: 1, to: chance.between(10, 400) };
        break;
      case 'failing-sync':
        tell(`${id}'s disk fails to sync`);
        disk.failingSyncs = 1 + chance.rng.below(3);
        break;
      case 'failing-truncate':
        tell(`${id}'s disk fails for good`);
        disk.failingSyncs = 1;
        disk.failingTruncates = 1;
        this.#restartLater([member]);
        break;
      case 'full-disk':
        tell(`${id}'s disk is full`);
        disk.capacityBytes = disk.usedBytes() + chance.rng.below(3000);
    }
    this.#later(chance.between(200, 4000), () => this.#mendDisk(member));
  }

  #cutPowerInWrite(member: Member): void {
    void member.disk.stopAfter(1 + this.#cluster.chance.rng.below(20)).then(() =>
      this.#cluster.guard(() => {
        member.cutPower(`${member.id} loses power while it writes`);
        this.#restartLater([member]);
      }),
    );
  }

  /** Again and again the leader is heard by some only, and all others are told that it is gone. */
  #duel(rounds: number): void {
    const { chance, members, network, leader } = this.#cluster;
    network.heal();
    if (rounds === 0) return;
    if (leader !== undefined) {
      for (const { id } of members) if (chance.percent(60)) network.cut(leader.id, id);
      this.#later(chance.between(5, 200), () => this.#cluster.hint(leader.id));
    }
    this.#later(chance.between(50, 600), () => this.#duel(rounds - 1));
  }

  /** All lose their leader at once, messages come late, and who has just voted starts anew. */
  #storm(): void {
    const { chance, members, network, leader } = this.#cluster;
    this.#cluster.tell('a storm');
    const { weather } = network;
    network.weather = { lossPercent: 5, duplicatePercent: 10, latePercent: 50, lateMs: 200 };
    this.#cluster.onSend = (message) => this.#plots.forgetVote(message, 40);
    this.#later(600, () => {
      network.weather = weather;
      this.#cluster.onSend = () => {};
    });
    if (leader !== undefined) this.#cluster.hint(leader.id);
    for (const member of members) {
      if (chance.percent(50)) continue;
      this.#later(chance.between(0, 400), () => {
        member.cutPower(`${member.id} loses power for a moment`);
        this.#later(chance.between(1, 30), () => member.start());
      });
    }
  }

  #split(): void {
    const { chance, members, network } = this.#cluster;
    const side = new Set(members.filter(() => chance.percent(50)).map(({ id }) => id));
    this.#cluster.tell(`${[...side].join('+') || 'nobody'} and the others do not hear each other`);
    for (const { id: a } of members) {
      for (const { id: b } of members) if (side.has(a) !== side.has(b)) network.cut(a, b);
    }
    this.#healLater();
  }

  /** Often at a bad moment: while it hands over, with much that it has not sent, while the others start anew. */
  #isolateLeader(): boolean {
    const { leader, members, network, chance } = this.#cluster;
    if (leader === undefined) return false;
    if (chance.percent(30)) {
      const to = chance.pick(leader.status.membership.voters);
      if (to !== undefined) leader.transfer(to);
    }
    this.#later(chance.between(0, 8), () => {
      this.#cluster.tell(`${leader.id}, the leader, is cut off`);
      for (const { id } of members) {
        network.cut(leader.id, id);
        network.cut(id, leader.id);
      }
      if (this.#cluster.member(leader.id)?.process === leader && chance.percent(50)) this.#flood(leader);
      if (chance.percent(50)) this.#cluster.hint(leader.id);
      if (!chance.percent(30)) return;
      for (const member of members) {
        if (member.id === leader.id) continue;
        member.cutPower(`${member.id} loses power for a moment`);
        this.#later(chance.between(1, 60), () => member.start());
      }
    });
    this.#healLater();
    return true;
  }

  /** Asks for entries that nobody waits for. */
  #flood(process: Process): void {
    const { chance } = this.#cluster;
    const count = chance.rng.below(60);
    for (let i = 0; i < count; i++) {
      process.write({ key: 'flood', value: `f${this.#floods++}` }, () => {});
    }
  }

  /**
   * Turns over bits in what was written long ago: of the last record nobody can tell damage from a write cut short.
   * Only one member at a time, and only when all others are whole: what a majority has lost, no protocol brings back.
   */
  #corrupt(member: Member): boolean {
    const { chance, members } = this.#cluster;
    const memberships = this.#cluster.processes.map(({ status }) => JSON.stringify(status.membership));
    const voters = this.#cluster.leader?.status.membership.voters ?? [];
    const isSafe =
      voters.length >= 3 &&
      voters.includes(member.id) &&
      memberships.length === members.length &&
      new Set(memberships).size === 1 &&
      members.every((each) => !each.isCorrupted);
    if (!isSafe) return false;
    const files = [...member.disk.directories].flatMap(([path, directory]) =>
      path === '/raft/wal' || path === '/raft/snapshots' ? [...directory.names] : [],
    );
    member.stop(`${member.id} is stopped`);
    const [path, inode] = chance.pick(files.filter(([path]) => !path.endsWith('.tmp'))) ?? [];
    const bytes = inode?.current() ?? new Uint8Array(0);
    const written = bytes.findLastIndex((byte) => byte !== 0);
    if (path !== undefined && written > (path.endsWith('.wal') ? 3000 : 300)) {
      const at = chance.rng.below(path.endsWith('.wal') ? Math.floor(written / 2) : written);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << chance.rng.below(8));
      member.isCorrupted = true;
      this.#cluster.tell(`a bit of ${member.id}'s ${path} turns over at byte ${at}`);
    }
    this.#restartLater([member]);
    return true;
  }

  #restartLater(members: Member[]): void {
    const { chance } = this.#cluster;
    for (const member of members) {
      if (chance.percent(70)) this.#cluster.hint(member.id);
      this.#later(chance.percent(40) ? chance.between(1, 60) : chance.between(60, 3000), () => member.start());
    }
  }

  #healLater(): void {
    this.#later(this.#cluster.chance.between(100, 5000), () => {
      this.#cluster.tell('all links work again');
      this.#cluster.network.heal();
    });
  }

  #later(delayMs: number, run: () => void): void {
    this.#cluster.queue.after(delayMs, () => {
      if (!this.#isOver) run();
    });
  }
}
