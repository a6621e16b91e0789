import type { MemberId, Message } from '@apiary/raft/core';
import type { Chance } from './chance.js';
import { EventQueue } from './event-queue.js';
import { Member, type MemberSettings } from './member.js';
import { SimulatedNetwork } from './network.js';
import { Oracle } from './oracle.js';
import type { Process } from './process.js';
import type { Story } from './story.js';

/** After an event that touched a disk, so many turns of the event loop let what waits for it go on. */
const TURNS = 4;

/** The members of a simulated cluster, what is between them, and who watches. */
export class Cluster {
  readonly queue = new EventQueue();
  readonly oracle = new Oracle();
  readonly network: SimulatedNetwork;
  readonly chance: Chance;
  /** Sees every message before it is sent. */
  onSend: (message: Message) => void = () => {};
  readonly #story: Story;
  readonly #members = new Map<MemberId, Member>();
  readonly #settings: MemberSettings;
  #failure: unknown;
  #isDiskTouched = false;
  #nextMember = 1;
  #events = 0;

  constructor(settings: MemberSettings, chance: Chance, story: Story, size: number) {
    this.chance = chance;
    this.#settings = settings;
    this.#story = story;
    this.network = new SimulatedNetwork(this.queue, chance, (message) => this.#deliver(message));
    const voters = Array.from({ length: size }, (_, i) => `m${i + 1}`);
    for (const _ of voters) this.addMember({ voters, learners: [] }).start();
  }

  get events(): number {
    return this.#events;
  }

  get nowMs(): number {
    return this.queue.now;
  }

  get story(): string[] {
    return this.#story.lines;
  }

  /** A machine with an empty disk. Without `bootstrap` it waits to be added. */
  addMember(bootstrap: ConstructorParameters<typeof Member>[2]): Member {
    const id = `m${this.#nextMember++}`;
    const member = new Member(id, this.#settings, bootstrap, {
      queue: this.queue,
      chance: this.chance,
      oracle: this.oracle,
      send: (message) => {
        this.onSend(message);
        this.network.send(message);
      },
      tell: (words) => this.tell(words),
      guard: (run) => this.guard(run),
      touchDisk: () => {
        this.#isDiskTouched = true;
      },
    });
    this.#members.set(id, member);
    return member;
  }

  /** All that are in use. */
  get members(): Member[] {
    return [...this.#members.values()].filter(({ isRetired }) => !isRetired);
  }

  member(id: MemberId): Member | undefined {
    return this.#members.get(id);
  }

  get processes(): Process[] {
    return this.members.flatMap(({ process }) => process ?? []);
  }

  /** Of the newest term, if there is one that believes to lead. */
  get leader(): Process | undefined {
    return this.processes
      .filter(({ status }) => status.role === 'leader')
      .sort((a, b) => b.status.term - a.status.term)[0];
  }

  tell(words: string): void {
    this.#story.tell(this.queue.now, words);
  }

  /** Runs what follows from a promise: what goes wrong there ends the simulation. */
  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#failure ??= error;
    }
  }

  /** Lets virtual time pass. @throws what went wrong */
  async run(untilMs: number, isDone: () => boolean = () => false): Promise<void> {
    while (!isDone()) {
      if (!this.queue.runNext(untilMs)) break;
      this.#events++;
      if (this.#isDiskTouched) {
        this.#isDiskTouched = false;
        for (let i = 0; i < TURNS; i++) await new Promise((resolve) => setImmediate(resolve));
      }
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  /** Tells the others that their connections to `id` are gone, as their kernels would. */
  hint(id: MemberId): void {
    for (const { id: other } of this.processes) {
      if (other === id) continue;
      this.queue.after(this.chance.between(0.2, 5), () => {
        const member = this.member(other);
        if (member !== undefined && !member.isPaused) member.process?.unreachable(id);
      });
    }
  }

  #deliver(message: Message): void {
    const member = this.#members.get(message.to);
    if (member !== undefined && !member.isRetired) member.receive(message);
  }
}
