import { type DesiredState, isTerminal, rankOf, type TaskState, type TaskStatus } from '@apiary/api/model';
import type { EngineContainer } from './container.js';

/** All that decides what happens next to one task on this node. */
export interface TaskFacts {
  /** What the managers want; `remove` also for a container that nobody assigned. */
  desiredState: DesiredState;
  status: TaskStatus;
  /** The managers know of a container of it that was started: when there is none, it is gone. */
  wasStarted: boolean;
  /** Its image is here, or has been asked for in vain: the engine says so at create. */
  imageReady: boolean;
  container?: EngineContainer;
  /** It was seen unhealthy while it ran: that is why it is stopped, and has failed however it exits. */
  wasUnhealthy: boolean;
  /** It was seen to have a health check: it has started once it is healthy, not with its process. */
  hasHealthCheck: boolean;
  /** Why pulling, creating or starting failed, in the engine's words: the task is over. */
  failure?: string;
  /** What stands in the way for now: an engine that is gone, a stop that has to be tried again. */
  trouble?: string;
}

export type TaskAction = 'none' | 'pull' | 'create' | 'start' | 'stop' | 'remove' | 'forget';

export interface TaskStep {
  /** The same object as before when nothing changed. */
  status: TaskStatus;
  /** The one thing to do now. `none`: wait until something is heard of the container or of the managers. */
  action: TaskAction;
}

/** Docker's message for each state; one that ended badly keeps the message of how far it came. */
const MESSAGES: Partial<Record<TaskState, string>> = {
  accepted: 'accepted',
  preparing: 'preparing',
  ready: 'prepared',
  starting: 'starting',
  running: 'started',
  complete: 'finished',
  shutdown: 'shutdown',
};

/**
 * What is known of a task that has just been handed to this node, or found on it.
 *
 * @param observedState  how far the managers know it to be. One that has ended stays so; another's status is made anew
 *   from what the engine says of its container.
 */
export function initialFacts(desiredState: DesiredState, observedState: TaskState, nowMs: number): TaskFacts {
  const state = isTerminal(observedState) ? observedState : 'accepted';
  const status: TaskStatus = { state, atMs: nowMs, message: MESSAGES[state] ?? '' };
  const wasStarted = rankOf(observedState) >= rankOf('starting');
  return { desiredState, status, wasStarted, imageReady: false, wasUnhealthy: false, hasHealthCheck: false };
}

/** The engine says how the task's container is; undefined: that there is none. */
export function observeContainer(facts: TaskFacts, container: EngineContainer | undefined): void {
  if (container === undefined) delete facts.container;
  else facts.container = container;
  if (container?.health !== undefined) facts.hasHealthCheck = true;
  if (container?.state === 'running' && container.health === 'unhealthy') facts.wasUnhealthy = true;
}

/**
 * What a task's status is, and what to do next: the life of a task on its node, as SwarmKit's agent has it.
 * Only for a task whose container's facts are fresh: with the engine away, see `withTrouble`.
 */
export function nextStep(facts: TaskFacts, nowMs: number): TaskStep {
  const { desiredState, status, container } = facts;
  const running = container?.state === 'running';
  if (desiredState === 'remove') {
    if (running) return { status, action: 'stop' };
    // The managers keep the task until they have heard that it is over.
    const over = isTerminal(status.state) ? status : moved(facts, 'shutdown', nowMs, undefined);
    return { status: over, action: container === undefined ? 'forget' : 'remove' };
  }
  // An unhealthy container, or one that somebody started again.
  if (isTerminal(status.state)) return { status, action: running ? 'stop' : 'none' };
  const to = (state: TaskState, action: TaskAction = 'none', err?: string): TaskStep => ({
    status: moved(facts, state, nowMs, err),
    action,
  });
  if (desiredState === 'shutdown') return running ? to(status.state, 'stop') : to('shutdown');
  const failed: TaskState = facts.wasStarted || rankOf(status.state) >= rankOf('starting') ? 'failed' : 'rejected';
  if (facts.failure !== undefined) return to(failed, 'none', facts.failure);
  if (container === undefined) {
    if (status.container !== undefined) return to(failed, 'none', `No such container: ${status.container.id}`);
    if (facts.wasStarted) return to(failed, 'none', 'No such container: it was removed while no agent ran');
    return to('preparing', facts.imageReady ? 'create' : 'pull');
  }
  switch (container.state) {
    case 'created':
      return desiredState === 'ready' ? to('ready') : to('starting', 'start');
    case 'running':
      if (container.health === 'unhealthy') return to(laterOf(status.state, 'starting'), 'stop');
      if (container.health === 'starting') return to(laterOf(status.state, 'starting'));
      return to('running');
    case 'exited': {
      const err = exitErrorOf(container, facts.wasUnhealthy);
      if (err === undefined) return to('complete');
      return to('failed', 'none', err);
    }
  }
}

/** The status of a task that goes on, or waits, with what stands in its way. One that has ended keeps its own. */
export function withTrouble(facts: TaskFacts, nowMs: number): TaskStatus {
  return isTerminal(facts.status.state) ? facts.status : moved(facts, facts.status.state, nowMs, undefined);
}

/** Docker's words for how a container ended, or undefined when it ended well. */
function exitErrorOf({ exitCode, error, oomKilled }: EngineContainer, wasUnhealthy: boolean): string | undefined {
  const cause = wasUnhealthy ? 'dockerexec: unhealthy container' : error || (oomKilled ? 'out of memory' : '');
  if (exitCode !== 0) return `task: non-zero exit (${exitCode})${cause && `: ${cause}`}`;
  return wasUnhealthy ? cause : undefined;
}

function laterOf(a: TaskState, b: TaskState): TaskState {
  return rankOf(a) >= rankOf(b) ? a : b;
}

function moved(facts: TaskFacts, state: TaskState, nowMs: number, err: string | undefined): TaskStatus {
  const { status, container } = facts;
  const message = MESSAGES[state] ?? (hasRun(facts) ? 'started' : status.message);
  const said = err ?? (isTerminal(state) ? undefined : facts.trouble);
  const result: TaskStatus = { state, atMs: nowMs, message, ...(said !== undefined && { err: said }) };
  if (container !== undefined) {
    const { id, pid, exitCode } = container;
    result.container = { id, pid, exitCode };
    if (container.state === 'running' && container.ports.length > 0) result.ports = container.ports;
    // Of one that has ended it is somebody else's soon.
    if (container.gatewayAddress !== undefined && container.state !== 'exited') {
      const { gatewayAddress, gatewayIpv6Address } = container;
      result.gatewayAddress = gatewayAddress;
      if (gatewayIpv6Address !== undefined) result.gatewayIpv6Address = gatewayIpv6Address;
    }
  } else if (status.container !== undefined) {
    result.container = { ...status.container, pid: 0 };
  } else if (rankOf(state) >= rankOf('starting')) {
    // As Docker has it, also of a task that was over before it had a container.
    result.container = { id: '', pid: 0, exitCode: 0 };
  }
  return sameButTime(result, status) ? status : result;
}

/** Whether a process of the task ran that is over, perhaps so soon that the task was never seen running. */
function hasRun({ container, failure, hasHealthCheck }: TaskFacts): boolean {
  return container?.state === 'exited' && failure === undefined && !hasHealthCheck;
}

function sameButTime(a: TaskStatus, b: TaskStatus): boolean {
  return JSON.stringify({ ...a, atMs: 0 }) === JSON.stringify({ ...b, atMs: 0 });
}
