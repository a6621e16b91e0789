import { countVotes } from './election.js';
import { entryBytes, type HardState } from './entry.js';
import type { Persist } from './ready.js';
import { advanceCommit, handOver } from './replication.js';
import { becomeFollower } from './roles.js';
import type { Leader, NodeState } from './state.js';

/** What is handed to the disk, what came back from it, and what follows from that. */

/** What is new since the last write, as part of write `number`. */
export function nextPersist(state: NodeState, number: number): Persist | undefined {
  const { disk, log } = state;
  const hardState: HardState = { term: state.term, vote: state.vote, commit: state.commit };
  const { emitted } = disk;
  const isPromise = hardState.term !== emitted.term || hardState.vote !== emitted.vote;
  const snapshot = state.install === 'to-emit' ? state.snapshot : undefined;
  if (!isPromise && snapshot === undefined && !log.hasUnemitted) return undefined;
  if (snapshot !== undefined) state.install = { writeNumber: number };
  disk.emitted = hardState;
  disk.writes.push({ number, hardState });
  // The commit index is written along, never for its own sake.
  const isNew = isPromise || hardState.commit !== emitted.commit;
  return { snapshot, entries: log.emit(number), hardState: isNew ? hardState : undefined };
}

/** Whether it is no use to hand anything to the disk now. */
export function isDiskBlocked({ disk, tick }: NodeState): boolean {
  return disk.health.type === 'failed' && (disk.writes.length > 0 || tick < disk.health.retryTick);
}

/** Write `number`, and all before it, is durable: what this node owes to itself counts now. */
export function persisted(state: NodeState, number: number): void {
  const { disk, log, install, role, options } = state;
  const settled = disk.writes.filter((write) => write.number <= number);
  if (settled.length === 0) return;
  disk.writes = disk.writes.filter((write) => write.number > number);
  disk.stable = settled.at(-1)?.hardState ?? disk.stable;
  disk.health = { type: 'sound' };
  log.settle(number);
  if (typeof install === 'object' && install.writeNumber <= number) state.install = 'to-restore';
  if (role.type === 'leader') advanceCommit(state, role);
  if (role.type === 'candidate' && disk.stable.term === state.term) {
    role.votes.set(options.id, disk.stable.vote === options.id);
    countVotes(state);
  }
}

/**
 * The writes under way were refused, all of them. A leader that cannot write leads no more, unless it is alone.
 *
 * @returns the first entry that was given up, if any was
 */
export function diskFailed(state: NodeState): number | undefined {
  const { disk, log, install, role, tick, options } = state;
  if (role.type === 'leader' && isAlone(state, role)) return giveUp(state, role);
  disk.health = { type: 'failed', retryTick: tick + options.heartbeatTicks };
  disk.writes = [];
  disk.emitted = disk.stable;
  log.giveBack();
  if (typeof install === 'object') state.install = 'to-emit';
  state.incoming = undefined;
  state.outbox.sendOnceDurable.length = 0;
  if (role.type === 'leader') handOver(state, role);
  else if (role.type !== 'follower') becomeFollower(state, state.term, undefined);
  return undefined;
}

/** Whether no other member can have seen what is not durable here: it is the only one, by an entry that is. */
function isAlone({ log, memberships, term, disk }: NodeState, leader: Leader): boolean {
  const isSettled = memberships.currentIndex <= log.stableIndex && leader.firstIndex <= log.stableIndex;
  return isSettled && disk.stable.term === term && leader.progress.size === 0;
}

/** There is nobody to lead instead: what was refused is as if it had never been asked for, and the next may fit. */
function giveUp(state: NodeState, leader: Leader): number | undefined {
  const { disk, log, outbox } = state;
  disk.writes = [];
  disk.emitted = disk.stable;
  outbox.sendOnceDurable.length = 0;
  log.giveBack();
  const first = log.stableIndex + 1;
  if (first > log.lastIndex) return undefined;
  const lost = log.slice(first, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  for (const entry of lost) leader.uncommittedBytes -= entryBytes(entry);
  log.truncateFrom(first);
  return first;
}
