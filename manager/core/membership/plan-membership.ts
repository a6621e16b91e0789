import type { Change } from '../store/change.js';
import { isWantedManager } from '../store/node-role.js';
import type { NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/** How the managers' log stands, as its leader sees it. */
export interface MembersSeen {
  /** By the newest entry that says so, applied or not. */
  members: { voters: readonly string[]; learners: readonly string[] };
  /** The other members. One that is missing has not been heard of. */
  peers: readonly { id: string; isActive: boolean; isCaughtUp: boolean }[];
  /** The leader. */
  selfId: string;
}

/** One step. The changes of a step of membership go into the very entry that changes the membership, without guards. */
export type MembershipStep =
  | { type: 'add-learner'; member: string; changes: Change[] }
  | { type: 'promote'; member: string; changes: [] }
  | { type: 'remove'; member: string; changes: Change[]; isForced: boolean }
  /** Leadership goes to another voter, who then takes this one out. */
  | { type: 'transfer'; to: string };

export interface MembershipPlan {
  /** What the records do not say yet of how the managers are heard of: an entry of its own. */
  changes: Change[];
  /** Undefined when nothing is to be done, or nothing can be for now. */
  step?: MembershipStep;
  /** What is wanted and cannot be done yet, with the reason. */
  waiting: { member: string; reason: string }[];
  /** When to plan anew at the latest, though nothing changes until then. */
  againAtMs?: number;
}

/** A manager that is heard of on and off is written down at most once within this time. */
export const REACHABILITY_HOLD_MS = 5_000;
/** A removal waits so long for a new manager that is catching up, so that there are never fewer than need be. */
export const CATCH_UP_MS = 30_000;

/**
 * Plans the next step towards a managers' log whose voters are the nodes that are wanted as managers.
 *
 * A learner that has caught up is promoted first. Members that do not count, learners and voters that are not heard
 * from, are removed before others are added; a voter that is heard from only once those being added have caught up, or
 * had their time. A voter is removed only when more than half of those left are heard from, unless the user forced it;
 * the last never is. The leader goes last, once another voter leads. Every plan is made from what is there alone, so
 * one that was not carried out, or half, does no harm.
 *
 * @param view  with all that was committed before this member came to lead (after a barrier): a record that is only
 *   late would pass for one that is gone
 */
export function planMembership(view: View, seen: MembersSeen, nowMs: number): MembershipPlan {
  const plan: MembershipPlan = { changes: [], waiting: [] };
  // A leader that has been removed leads until that is committed, and decides nothing any more.
  if (view.cluster() === undefined || !seen.members.voters.includes(seen.selfId)) return plan;
  const managers = new Managers(view, seen);
  noteReachability(managers, nowMs, plan);
  const step =
    nextPromotion(managers) ??
    nextRemovalOfIdle(managers) ??
    nextAddition(view, managers) ??
    nextRemoval(managers, nowMs, plan) ??
    nextDeparture(managers, plan);
  if (step !== undefined) plan.step = step;
  return plan;
}

class Managers {
  readonly voters: readonly string[];
  readonly learners: readonly string[];
  readonly selfId: string;
  readonly #view: View;
  readonly #peers: ReadonlyMap<string, MembersSeen['peers'][number]>;

  constructor(view: View, { members, peers, selfId }: MembersSeen) {
    this.voters = members.voters;
    this.learners = members.learners;
    this.selfId = selfId;
    this.#view = view;
    this.#peers = new Map(peers.map((peer) => [peer.id, peer]));
  }

  get all(): string[] {
    return [...this.voters, ...this.learners].sort();
  }

  record(id: string): NodeRecord | undefined {
    return this.#view.node(id);
  }

  isWanted(id: string): boolean {
    const node = this.record(id);
    return node !== undefined && isWantedManager(node);
  }

  isActive(id: string): boolean {
    return id === this.selfId || (this.#peers.get(id)?.isActive ?? false);
  }

  isCaughtUp(id: string): boolean {
    return id === this.selfId || (this.isActive(id) && (this.#peers.get(id)?.isCaughtUp ?? false));
  }

  isForced(id: string): boolean {
    return this.record(id)?.departure?.isForced ?? false;
  }

  /** Why voter `id` may not be removed now: undefined when those left would be a voter and a quorum. */
  riskOfRemoval(id: string): string | undefined {
    const left = this.voters.filter((other) => other !== id);
    if (left.length === 0) return 'it is the last voter';
    const active = left.filter((other) => this.isActive(other)).length;
    const needed = Math.floor(left.length / 2) + 1;
    if (active >= needed || this.isForced(id)) return undefined;
    return `the quorum would be lost: of the ${left.length} voters left, ${active} are heard from where ${needed} must be`;
  }
}

function nextPromotion(managers: Managers): MembershipStep | undefined {
  const member = managers.learners.find((id) => managers.isWanted(id) && managers.isCaughtUp(id));
  return member === undefined ? undefined : { type: 'promote', member, changes: [] };
}

/** Those whose going makes no quorum smaller. */
function nextRemovalOfIdle(managers: Managers): MembershipStep | undefined {
  const learner = managers.learners.find((id) => !managers.isWanted(id));
  if (learner !== undefined) return removal(managers, learner);
  const lost = managers.voters.find(
    (id) => !managers.isWanted(id) && !managers.isActive(id) && managers.riskOfRemoval(id) === undefined,
  );
  return lost === undefined ? undefined : removal(managers, lost);
}

function nextAddition(view: View, managers: Managers): MembershipStep | undefined {
  const members = managers.all;
  const node = view
    .nodes()
    .find((each) => isWantedManager(each) && each.managerAddr !== undefined && !members.includes(each.id));
  if (node === undefined) return undefined;
  const { id } = node;
  return { type: 'add-learner', member: id, changes: [{ type: 'node-role', id, role: 'manager' }] };
}

function nextRemoval(managers: Managers, nowMs: number, plan: MembershipPlan): MembershipStep | undefined {
  const leaving = managers.voters.filter((id) => !managers.isWanted(id));
  if (leaving.length === 0) return undefined;
  for (const id of managers.learners) {
    const sinceMs = managers.record(id)?.reachabilityAtMs;
    if (!managers.isActive(id) || sinceMs === undefined || !isWithin(nowMs, sinceMs, CATCH_UP_MS)) continue;
    wakeAt(plan, sinceMs + CATCH_UP_MS);
    const reason = `manager ${id} is catching up, and comes first`;
    plan.waiting.push(...leaving.filter((each) => !managers.isForced(each)).map((member) => ({ member, reason })));
    const forced = leaving.find((each) => managers.isForced(each) && each !== managers.selfId);
    return forced === undefined ? undefined : removalIfSafe(managers, forced, plan);
  }
  for (const id of leaving) {
    const step = id === managers.selfId ? undefined : removalIfSafe(managers, id, plan);
    if (step !== undefined) return step;
  }
  return undefined;
}

/** The leader's own going. */
function nextDeparture(managers: Managers, plan: MembershipPlan): MembershipStep | undefined {
  const { selfId } = managers;
  if (managers.isWanted(selfId) || plan.waiting.some(({ member }) => member === selfId)) return undefined;
  const risk = managers.riskOfRemoval(selfId);
  const heirs = managers.voters.filter((id) => id !== selfId && managers.isActive(id));
  const [heir] = [
    heirs.find((id) => managers.isWanted(id) && managers.isCaughtUp(id)),
    heirs.find((id) => managers.isWanted(id)),
    ...heirs,
  ].filter((id) => id !== undefined);
  const reason = risk ?? (heir === undefined ? 'no other voter is heard from that could lead' : undefined);
  if (reason !== undefined) plan.waiting.push({ member: selfId, reason });
  return reason === undefined && heir !== undefined ? { type: 'transfer', to: heir } : undefined;
}

function removalIfSafe(managers: Managers, id: string, plan: MembershipPlan): MembershipStep | undefined {
  const reason = managers.riskOfRemoval(id);
  if (reason === undefined) return removal(managers, id);
  plan.waiting.push({ member: id, reason });
  return undefined;
}

function removal(managers: Managers, member: string): MembershipStep {
  const changes: Change[] =
    managers.record(member) === undefined ? [] : [{ type: 'node-role', id: member, role: 'worker' }];
  return { type: 'remove', member, changes, isForced: managers.isForced(member) };
}

/**
 * A manager is on record as reachable when it is heard from and has caught up, as unreachable when it is not heard
 * from: between the two the record stays as it is, and after each change for a while.
 */
function noteReachability(managers: Managers, nowMs: number, plan: MembershipPlan): void {
  for (const id of managers.all) {
    const node = managers.record(id);
    // Until the entry that made it a member is applied, its record is a worker's.
    if (node?.role !== 'manager') continue;
    const reachability = managers.isCaughtUp(id) ? 'reachable' : managers.isActive(id) ? undefined : 'unreachable';
    if (reachability === undefined || reachability === node.reachability) continue;
    const { reachabilityAtMs: sinceMs } = node;
    const isFirstWord = node.reachability === undefined && reachability === 'reachable';
    if (!isFirstWord && sinceMs !== undefined && isWithin(nowMs, sinceMs, REACHABILITY_HOLD_MS)) {
      wakeAt(plan, sinceMs + REACHABILITY_HOLD_MS);
    } else {
      plan.changes.push({ type: 'node-reachability', id, reachability });
    }
  }
}

/** A time to come is another manager's clock: then nothing is waited for. */
function isWithin(nowMs: number, sinceMs: number, durationMs: number): boolean {
  return sinceMs <= nowMs && nowMs < sinceMs + durationMs;
}

function wakeAt(plan: MembershipPlan, atMs: number): void {
  plan.againAtMs = Math.min(plan.againAtMs ?? atMs, atMs);
}
