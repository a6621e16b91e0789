import type { MemberId, Membership, Message } from '@apiary/raft/core';
import { DamagedFileError, type FileSystem, MemberStorage } from '@apiary/raft/io';
import { SimulatedDisk } from '@apiary/raft/io/simulated-disk';
import { messageOf, SeededRng } from '@apiary/std';
import type { Chance } from './chance.js';
import type { EventQueue } from './event-queue.js';
import { demand } from './oracle.js';
import { isDiskTrouble, Process, type ProcessSettings, type Surroundings } from './process.js';
import { TimedFiles } from './timed-files.js';

export interface MemberSettings extends Omit<ProcessSettings, 'node'> {
  node: Omit<ProcessSettings['node'], 'id' | 'rng'>;
  tickMs: number;
  segmentBytes: number;
  /** Whether members encrypt what they keep, and change their key now and then. */
  isEncrypted: boolean;
}

/** What a member needs of the simulation. */
export interface MemberWorld extends Omit<Surroundings, 'exit'> {
  queue: EventQueue;
  chance: Chance;
}

type State =
  | { type: 'stopped' }
  | { type: 'starting' }
  | { type: 'running'; process: Process }
  /** Its disk is damaged, and it says so. */
  | { type: 'refused' };

/** A machine with a disk, on which a process runs, or does not. */
export class Member {
  readonly id: MemberId;
  readonly disk: SimulatedDisk;
  /** So many times slower than it should be is its clock. */
  clockFactor = 1;
  /** What one operation of its disk takes. */
  diskMs: { from: number; to: number } = { from: 0.05, to: 1 };
  /** A bit of its disk was turned over. */
  isCorrupted = false;
  /** Its operator has taken it out of use for good. */
  isRetired = false;
  readonly #world: MemberWorld;
  readonly #settings: MemberSettings;
  readonly #bootstrap: Membership | undefined;
  #state: State = { type: 'stopped' };
  /** Counts the processes: what belongs to an older one does nothing. */
  #generation = 0;
  #backlog: (() => void)[] | undefined;
  /** Of its own: an encrypted cluster is to meet the same faults as one in clear. */
  readonly #secrets: Secrets;

  constructor(id: MemberId, settings: MemberSettings, bootstrap: Membership | undefined, world: MemberWorld) {
    this.id = id;
    this.#settings = settings;
    this.#bootstrap = bootstrap;
    this.#world = world;
    this.disk = new SimulatedDisk(world.chance.rng);
    this.#secrets = new Secrets(id);
  }

  get state(): State['type'] {
    return this.#state.type;
  }

  /** The process, if one is up; it may be paused. */
  get process(): Process | undefined {
    return this.#state.type === 'running' ? this.#state.process : undefined;
  }

  start(): void {
    if (this.#state.type !== 'stopped' || this.isRetired) return;
    this.#state = { type: 'starting' };
    const { guard, tell } = this.#world;
    const generation = ++this.#generation;
    const files: FileSystem = new TimedFiles(this.disk.mount(), () => this.#diskWait(generation));
    this.#world.touchDisk();
    const { segmentBytes, isEncrypted } = this.#settings;
    const keys = isEncrypted ? { random: (length: number) => this.#secrets.bytes(length) } : undefined;
    const bootstrap = this.#bootstrap === undefined ? {} : { bootstrap: this.#bootstrap };
    const identity = { clusterId: 'simulated', memberId: this.id };
    MemberStorage.open({ directory: '/raft', identity, files, segmentBytes, keys, ...bootstrap }).then(
      (opened) =>
        guard(() => {
          if (generation !== this.#generation) return;
          tell(`${this.id} starts with entry ${opened.initial.entries.at(-1)?.index ?? opened.initial.snapshot.index}`);
          this.#run(opened, generation);
        }),
      (error: unknown) =>
        guard(() => {
          if (generation !== this.#generation) return;
          if (error instanceof DamagedFileError) {
            demand(this.isCorrupted, `${this.id} takes its sound disk for damaged: ${error.message}`);
            tell(`${this.id} refuses to start: ${messageOf(error)}`);
            this.#state = { type: 'refused' };
          } else if (isDiskTrouble(error)) this.#exit(`${this.id} cannot start: ${messageOf(error)}`);
          else throw error;
        }),
    );
  }

  #run(opened: Awaited<ReturnType<typeof MemberStorage.open>>, generation: number): void {
    const { node, ...settings } = this.#settings;
    const options = { ...node, id: this.id, rng: this.#world.chance.rng };
    const exit = (why: string): void => this.#exit(`${this.id} ends: ${why}`);
    const process = new Process({ ...settings, node: options }, opened, { ...this.#world, exit });
    this.#state = { type: 'running', process };
    const tick = (): void => {
      if (generation !== this.#generation) return;
      this.#whenAwake('tick', () => process.tick());
      this.#world.queue.after(this.#settings.tickMs * this.clockFactor, tick);
    };
    this.#world.queue.after(this.#world.chance.between(0, this.#settings.tickMs), tick);
  }

  /** Ends the process, as kill -9 does: what it wrote is in the kernel's hands. */
  stop(words: string): void {
    if (this.#state.type === 'stopped' || this.#state.type === 'refused') return;
    this.#world.tell(words);
    this.process?.stop();
    this.#generation++;
    this.#backlog = undefined;
    this.#state = { type: 'stopped' };
    // Whatever the old process still wanted to do never ends.
    this.disk.mount();
  }

  /** The process ends by itself; whoever watches over it starts it again after a while. */
  #exit(words: string): void {
    this.stop(words);
    this.#world.queue.after(this.#world.chance.between(200, 2000), () => this.start());
  }

  cutPower(words: string): void {
    this.stop(words);
    this.disk.cutPower();
  }

  receive(message: Message): void {
    const { process } = this;
    if (process === undefined) return;
    this.#whenAwake('message', () => process.step(message));
  }

  pause(): void {
    if (this.process !== undefined) this.#backlog ??= [];
  }

  resume(): void {
    const backlog = this.#backlog ?? [];
    this.#backlog = undefined;
    const generation = this.#generation;
    for (const run of backlog) if (generation === this.#generation) run();
  }

  get isPaused(): boolean {
    return this.#backlog !== undefined;
  }

  /** A paused process finds all its messages when it wakes, and one tick: timers do not add up. */
  #whenAwake(type: 'tick' | 'message', run: () => void): void {
    if (this.#backlog === undefined) run();
    else if (type === 'message' && this.#backlog.length < 500) this.#backlog.push(run);
  }

  #diskWait(generation: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        if (generation !== this.#generation) return;
        if (this.#backlog !== undefined) {
          this.#backlog.push(wake);
          return;
        }
        this.#world.touchDisk();
        resolve();
      };
      this.#world.queue.after(this.#world.chance.between(this.diskMs.from, this.diskMs.to), wake);
    });
  }
}

/** Random bytes that are the same in each run. */
class Secrets {
  readonly #rng: SeededRng;

  constructor(id: MemberId) {
    this.#rng = new SeededRng([...id].reduce((sum, letter) => 31 * sum + letter.charCodeAt(0), 7));
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#rng.below(256));
  }
}
