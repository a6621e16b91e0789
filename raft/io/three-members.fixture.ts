import { join } from 'node:path';
import { SeededRng, VirtualClock } from '@apiary/std';
import type { Leadership, Log, MemberId, MembershipChange, StateMachine } from '../core/index.js';
import { NodeFileSystem, type OpenFile, ReplicatedLog, type ReplicatedLogOptions } from './index.js';
import { Ledger } from './log-conformance.js';
import { MemoryNetwork } from './memory-network.js';
import { CLUSTER } from './replicated-cluster.fixture.js';

/** The real disk, and how many syncs are under way. */
class CountedFiles extends NodeFileSystem {
  syncsUnderWay = 0;

  override open(path: string): OpenFile {
    return this.#counted(super.open(path));
  }

  override async create(path: string): Promise<OpenFile> {
    return this.#counted(await super.create(path));
  }

  #counted(file: OpenFile): OpenFile {
    const sync = file.sync.bind(file);
    file.sync = async () => {
      this.syncsUnderWay++;
      await sync().finally(() => {
        this.syncsUnderWay--;
      });
    };
    return file;
  }
}

/**
 * Three members on real disks. The first is what is tried. Time passes as it does, only faster, and stands still while a
 * disk is busy: however busy the machine is, an election has the time that it needs.
 */
export class ThreeMembers implements Log {
  readonly #logs: [ReplicatedLog, ...ReplicatedLog[]];
  readonly #clock: VirtualClock;
  readonly #files = new CountedFiles();
  #pace: NodeJS.Timeout | undefined;

  constructor(base: string, options: Partial<ReplicatedLogOptions>) {
    const clock = new VirtualClock();
    const network = new MemoryNetwork();
    const files = this.#files;
    const newLog = (memberId: string) =>
      new ReplicatedLog({
        directory: join(base, memberId),
        identity: { clusterId: CLUSTER, memberId },
        start: memberId === 'm1' ? 'bootstrap' : 'join',
        transport: network.transport(memberId),
        clock,
        rng: new SeededRng(memberId.charCodeAt(1)),
        files,
        ...options,
      });
    this.#clock = clock;
    this.#logs = [newLog('m1'), newLog('m2'), newLog('m3')];
  }

  async open(machine: StateMachine): Promise<void> {
    const [log, ...others] = this.#logs;
    this.#pace = setInterval(() => {
      if (this.#files.syncsUnderWay === 0) this.#clock.advance(10);
    }, 1);
    await log.open(machine);
    for (const other of others) await other.open(new Ledger());
    if (log.members.voters.length === 3) return;
    for (const member of ['m2', 'm3']) {
      await log.changeMembers({ type: 'add-learner', member }, new Uint8Array(0));
      await new Promise<void>((resolve) => {
        const look = () => {
          if (!log.peers.some((peer) => peer.id === member && peer.isCaughtUp && peer.isActive)) return;
          end();
          resolve();
        };
        const end = log.onMembers(look);
        look();
      });
      await log.changeMembers({ type: 'promote', member }, new Uint8Array(0));
    }
  }

  get leadership(): Leadership {
    return this.#logs[0].leadership;
  }

  onLeadership(listener: (leadership: Leadership) => void): () => void {
    return this.#logs[0].onLeadership(listener);
  }

  get members() {
    return this.#logs[0].members;
  }

  get peers() {
    return this.#logs[0].peers;
  }

  onMembers(listener: () => void): () => void {
    return this.#logs[0].onMembers(listener);
  }

  propose(entry: Uint8Array): Promise<number> {
    return this.#logs[0].propose(entry);
  }

  barrier(): Promise<void> {
    return this.#logs[0].barrier();
  }

  changeMembers(change: MembershipChange, entry: Uint8Array): Promise<number> {
    return this.#logs[0].changeMembers(change, entry);
  }

  transferLeadership(to?: MemberId): Promise<void> {
    return this.#logs[0].transferLeadership(to);
  }

  async close(): Promise<void> {
    clearInterval(this.#pace);
    for (const log of this.#logs) await log.close();
  }
}
