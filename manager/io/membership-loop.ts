import type { Clock, Timer } from '@apiary/std';
import type { Logger } from 'pino';
import { type MembershipPlan, type MembershipStep, planMembership } from '../core/membership/index.js';
import type { Change } from '../core/store/change.js';
import { effectiveRole } from '../core/store/node-role.js';
import { LedLoop } from './led-loop.js';
import type { Replica } from './ports.js';

export interface MembershipLoopOptions {
  replica: Replica;
  /** This manager. */
  selfId: string;
  clock: Clock;
  logger: Logger;
  /** A bug of ours came to light. The loop has stopped, and the process should end. */
  onFatal: (error: unknown) => void;
  /** In place of the planner. */
  plan?: typeof planMembership;
}

/** While something waits, it is looked at so often whatever is heard of the others. */
const WAITING_MS = 1_000;

/**
 * While this manager leads: makes the members of the managers' log those that are wanted as managers, one step at a
 * time, and writes down how they are heard of. Looks again after each step and each change of what it goes by.
 */
export class MembershipLoop {
  readonly #options: Required<MembershipLoopOptions>;
  readonly #loop: LedLoop;
  readonly #unsubscribe: (() => void)[];
  /** The term in which all that was committed before is known to be in the view. */
  #knownTerm: number | undefined;
  /** Something may have to be done. */
  #isDue = false;
  #wake: Timer | undefined;
  /** What was said of those who wait, by member. */
  #said = new Map<string, string>();
  /** Where managers said that they are, when that is not on record yet: by id. */
  #addrs = new Map<string, string>();

  constructor(options: MembershipLoopOptions) {
    this.#options = { plan: planMembership, ...options };
    const { replica } = options;
    this.#loop = new LedLoop({
      ...options,
      onTerm: (term) => this.#onTerm(term),
      hasWork: () => this.#isDue,
      pass: (term) => this.#passOrOwe(term),
      failure: 'managers',
    });
    this.#unsubscribe = [
      replica.subscribe(({ nodes, cluster }) => {
        if (cluster || nodes.size > 0) this.#look();
      }),
      replica.onMembers(() => this.#look()),
    ];
  }

  /**
   * Another manager said where it is reached now, `HOST:PORT`: the leader puts it on record. Who does not lead has
   * nothing to do, as every manager says it to every other.
   */
  noteAddress(id: string, managerAddr: string): void {
    if (!this.#loop.isLeading) return;
    this.#addrs.set(id, managerAddr);
    this.#look();
  }

  /** Resolves when no step is under way any more. */
  async close(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#loop.close();
  }

  #onTerm(term: number | undefined): void {
    this.#knownTerm = undefined;
    this.#isDue = term !== undefined;
    this.#said = new Map();
    this.#addrs = new Map();
    this.#wake?.cancel();
  }

  #look(): void {
    if (!this.#loop.isLeading) return;
    this.#isDue = true;
    this.#loop.wake();
  }

  async #passOrOwe(term: number): Promise<number> {
    try {
      await this.#pass(term);
    } catch (error) {
      if (this.#loop.leads(term)) this.#isDue = true;
      throw error;
    }
    return 0;
  }

  async #pass(term: number): Promise<void> {
    const { replica, selfId, clock, plan } = this.#options;
    if (this.#knownTerm !== term) {
      // A record that is only late would pass for one that is gone.
      await replica.barrier();
      if (!this.#loop.leads(term)) return;
      this.#knownTerm = term;
    }
    this.#isDue = false;
    this.#wake?.cancel();
    const { members, peers } = replica;
    const planned = plan(replica.view, { members, peers, selfId }, clock.now());
    this.#tellWaiting(planned);
    this.#wakeFor(planned);
    const { step } = planned;
    const changes = [...this.#leader(), ...this.#newAddresses(), ...planned.changes];
    if (changes.length > 0) {
      await replica.submit(() => ({ guards: [], changes, result: undefined }), { asLeaderOf: term });
      this.#isDue = true;
    } else if (step !== undefined) {
      // Between the plan and its step nothing else is done, so that the term is the same.
      await this.#take(step);
      this.#isDue = true;
    }
  }

  /** Who leads is no part of the state by itself: it is put there so that every manager has the same events of it. */
  #leader(): Change[] {
    const { replica, selfId } = this.#options;
    const cluster = replica.view.cluster();
    return cluster === undefined || cluster.leaderId === selfId ? [] : [{ type: 'leader', nodeId: selfId }];
  }

  #newAddresses(): Change[] {
    const { view } = this.#options.replica;
    const changes: Change[] = [];
    for (const [id, managerAddr] of this.#addrs) {
      const node = view.node(id);
      if (node === undefined || effectiveRole(node) === 'worker' || node.managerAddr === managerAddr) {
        this.#addrs.delete(id);
        continue;
      }
      this.#options.logger.info({ nodeId: id, managerAddr }, `manager ${id} has another address`);
      changes.push({ type: 'node-manager-addr', id, managerAddr });
    }
    return changes;
  }

  async #take(step: MembershipStep): Promise<void> {
    const { replica, logger } = this.#options;
    if (step.type === 'transfer') {
      logger.info({ to: step.to }, `handing leadership to ${step.to}: this node is to be a manager no more`);
      await replica.transferLeadership(step.to);
      return;
    }
    const { type, member, changes } = step;
    const isForced = step.type === 'remove' && step.isForced;
    await replica.changeMembers({ type, member }, changes, { isForced });
    logger.info({ nodeId: member, voters: replica.members.voters.length }, wordsOf(step));
  }

  /** Says once what is waited for. */
  #tellWaiting({ waiting }: MembershipPlan): void {
    const said = new Map(waiting.map(({ member, reason }) => [member, reason]));
    for (const [member, reason] of said) {
      if (this.#said.get(member) === reason) continue;
      this.#options.logger.warn({ nodeId: member }, `node ${member} is still a manager: ${reason}`);
    }
    this.#said = said;
  }

  #wakeFor({ waiting, againAtMs }: MembershipPlan): void {
    const { clock } = this.#options;
    const delays = [
      ...(waiting.length > 0 ? [WAITING_MS] : []),
      ...(againAtMs === undefined ? [] : [Math.max(0, againAtMs - clock.now())]),
    ];
    if (delays.length > 0) this.#wake = clock.after(Math.min(...delays), () => this.#look());
  }
}

function wordsOf({ type, member }: Exclude<MembershipStep, { type: 'transfer' }>): string {
  switch (type) {
    case 'add-learner':
      return `node ${member} receives the managers' log, to become a manager`;
    case 'promote':
      return `node ${member} is a manager now`;
    case 'remove':
      return `node ${member} is a manager no more`;
  }
}
