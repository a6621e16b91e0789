import { LEADER_ADDR_KEY, rpcStatusOf } from '@apiary/api/client';
import type { AgentMessage, ManagerMessage } from '@apiary/api/rpc';
import { ApiaryError, type Clock, type Timer } from '@apiary/std';
import { Metadata, type StatusObject } from '@grpc/grpc-js';

/** What a session needs of its call: gRPC's stream, or what a simulation has in its place. */
export interface AgentCall {
  on(event: 'data', listener: (message: AgentMessage) => void): unknown;
  on(event: 'end' | 'cancelled' | 'error' | 'close', listener: () => void): unknown;
  /** Where the call comes from, `HOST:PORT`. */
  getPeer(): string;
  isPaused(): boolean;
  pause(): unknown;
  resume(): unknown;
  write(message: ManagerMessage, onWritten: () => void): unknown;
  /** Ends the stream with no error; `emit` does with one. */
  end(): unknown;
  emit(event: 'error', status: Partial<StatusObject>): unknown;
}

/** How long an agent may leave unread what was sent to it. */
const STALL_TIMEOUT_MS = 10_000;
/** Messages of one agent that wait to be committed before it is left unread. */
const MOST_UNDER_WAY = 32;

/**
 * The manager's end of one session's stream. It is over once: by the agent, by the network or by `end`.
 * Nothing is queued without a bound: whoever sends waits for `isFlushed` before the next message that may be large.
 */
export class AgentStream {
  readonly #call: AgentCall;
  readonly #clock: Clock;
  readonly #onFlushed: () => void;
  readonly #onOver: () => void;
  #unflushed = 0;
  #underWay = 0;
  #stall: Timer | undefined;
  #isOver = false;

  constructor(
    call: AgentCall,
    clock: Clock,
    on: { message: (message: AgentMessage) => void; flushed: () => void; halfClosed: () => void; over: () => void },
  ) {
    this.#call = call;
    this.#clock = clock;
    this.#onFlushed = on.flushed;
    this.#onOver = on.over;
    call.on('data', (message: AgentMessage) => {
      if (!this.#isOver) on.message(message);
    });
    call.on('end', () => on.halfClosed());
    for (const event of ['cancelled', 'error', 'close'] as const) call.on(event, () => this.#finish());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether all that was sent is on its way. */
  get isFlushed(): boolean {
    return this.#unflushed === 0;
  }

  /** Whether messages of the agent are left unread, so that its silence says nothing. */
  get isPaused(): boolean {
    return this.#call.isPaused();
  }

  pause(): void {
    this.#call.pause();
  }

  resume(): void {
    this.#call.resume();
  }

  /** Work on a message of the agent begins: with much under way, what it says next stays unread. */
  began(): void {
    if (++this.#underWay >= MOST_UNDER_WAY) this.pause();
  }

  /** The work on one is done. @returns whether the agent was unread until now */
  done(): boolean {
    if (--this.#underWay >= MOST_UNDER_WAY || !this.isPaused) return false;
    this.resume();
    return true;
  }

  send(body: NonNullable<ManagerMessage['body']>): void {
    if (this.#isOver) return;
    this.#unflushed++;
    this.#stall ??= this.#stallTimer();
    this.#call.write({ body }, () => {
      this.#unflushed--;
      this.#stall?.cancel();
      this.#stall = this.#isOver || this.isFlushed ? undefined : this.#stallTimer();
      if (!this.#isOver && this.isFlushed) this.#onFlushed();
    });
  }

  #stallTimer(): Timer {
    return this.#clock.after(STALL_TIMEOUT_MS, () => {
      this.end(new ApiaryError('resource-exhausted', 'the agent does not read what it is sent: its session is over'));
    });
  }

  /**
   * Ends the stream, with the status of `error` when there is one. What was sent before still arrives.
   *
   * @param leaderAddr  where the agent is to go from here, or empty when it has to look for a leader
   */
  end(error?: ApiaryError, leaderAddr?: string): void {
    if (this.#isOver) return;
    this.#finish();
    if (error === undefined) {
      this.#call.end();
      return;
    }
    const metadata = new Metadata();
    if (leaderAddr !== undefined) metadata.set(LEADER_ADDR_KEY, leaderAddr);
    this.#call.emit('error', { ...rpcStatusOf(error), metadata });
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stall?.cancel();
    this.#onOver();
    // Read to its end, so that the call can close; nobody listens any more.
    this.#call.resume();
  }
}
