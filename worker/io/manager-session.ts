import type { AgentMessage, ManagerAddress, ManagerMessage } from '@apiary/api/rpc';
import { ApiaryError, type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import { ManagerSearch } from '../core/index.js';
import type { Dial, SessionWire } from './session-wire.js';

/** A manager that is not connected by then is not there, or is cut off: another is tried, and given more time. */
const CONNECT_TIMEOUT_MS = 1_500;
const LONGEST_CONNECT_TIMEOUT_MS = 6_000;
/** A manager that has not answered by then does not: one without a leader keeps an agent waiting for two seconds. */
const WELCOME_TIMEOUT_MS = 4_000;
const FIRST_HEARTBEAT_PERIOD_MS = 1_000;

export interface ManagerSessionOptions {
  nodeId: string;
  /** Where managers are, `HOST:PORT`, as last heard. */
  managers: () => string[];
  dial: Dial;
  clock: Clock;
  rng: Rng;
  /** What is said first in a session. */
  hello: () => AgentMessage;
  /** A session has begun. */
  onWelcome(manager: string): void;
  /** @throws ApiaryError when it makes no sense: the session starts anew */
  onMessage(message: ManagerMessage): void;
  onManagers(managers: ManagerAddress[]): void;
  /** What this node is to be, said at the start of every session and whenever it changes. */
  onRole(role: 'worker' | 'manager'): void;
  /** Whom this node is to trust, and who is to have signed its certificate: said at the start of every session, and when it changes. */
  onTrust(trust: { trustPem: string; issuerPem: string }): void;
  /** Which addresses this node's tasks have: said at the start of every session, before any task. Empty: none. */
  onGatewaySubnet(subnet: string): void;
  /** The UDP port of what is sent between hosts. */
  onDataPathPort(port: number): void;
  onEnded(manager: string, reason: string): void;
  /** The managers do not know this node any more. No other session is tried. */
  onGone(reason: string): void;
}

interface Attempt {
  manager: string;
  wire: SessionWire;
  startedMs: number;
  isWelcome: boolean;
  /** For the connection first, then for the welcome, then for the next heartbeat. */
  timer: Timer;
  /** Called when it is over. */
  onOver: () => void;
}

/** A session with one of the managers, whichever answers; when it ends, the next one. */
export class ManagerSession {
  readonly #options: ManagerSessionOptions;
  #current: Attempt | undefined;
  #retry: Timer | undefined;
  readonly #search: ManagerSearch;
  /** Attempts in a row that did not get as far as a connection. */
  #silences = 0;
  #heartbeatPeriodMs = FIRST_HEARTBEAT_PERIOD_MS;
  #stopped = false;

  constructor(options: ManagerSessionOptions) {
    this.#options = options;
    this.#search = new ManagerSearch(options.rng);
  }

  start(): void {
    if (!this.#stopped) this.#connect();
  }

  /** The manager whose session this is, once it has welcomed us. */
  get manager(): string | undefined {
    return this.#current?.isWelcome ? this.#current.manager : undefined;
  }

  /** Says something, if there is a session; what must not be lost is said again in the next. */
  send(message: AgentMessage): void {
    if (this.#current?.isWelcome) this.#current.wire.write(message);
  }

  /** Ends the session, if there is one, for another to begin: with the certificate that the node has by now. */
  renew(): void {
    const attempt = this.#current;
    // It is no fault of the manager's, who leads as far as anybody knows.
    if (attempt !== undefined) this.#ended(attempt, 'begun anew with another certificate', attempt.manager);
  }

  /** Ends the session for good, after what was said has been sent. */
  async stop(last?: AgentMessage): Promise<void> {
    this.#stopped = true;
    this.#retry?.cancel();
    const attempt = this.#current;
    if (attempt === undefined) return;
    if (last !== undefined && attempt.isWelcome) {
      await new Promise<void>((resolve) => {
        const timer = this.#options.clock.after(WELCOME_TIMEOUT_MS, resolve);
        const done = () => {
          timer.cancel();
          resolve();
        };
        attempt.onOver = done;
        attempt.wire.write(last);
        attempt.wire.end();
      });
    }
    this.#close(attempt);
  }

  #connect(): void {
    const { clock } = this.#options;
    const manager = this.#search.next(this.#options.managers());
    if (manager === undefined) {
      this.#connectIn(this.#search.foundNobody());
      return;
    }
    const wire = this.#options.dial(manager, {
      message: (message) => this.#hear(attempt, message),
      ended: () => {
        this.#ended(attempt, 'the manager ended the session');
        attempt.onOver();
      },
      failed: (error, leaderAddr) => {
        if (error.code === 'not-found' && attempt === this.#current) this.#gone(attempt, error.message);
        else this.#ended(attempt, error.message, leaderAddr);
        attempt.onOver();
      },
    });
    const timeoutMs = Math.min(CONNECT_TIMEOUT_MS * 2 ** this.#silences, LONGEST_CONNECT_TIMEOUT_MS);
    const timer = clock.after(timeoutMs, () => this.#awaitWelcome(attempt, timeoutMs));
    const attempt: Attempt = {
      manager,
      wire,
      startedMs: clock.now(),
      isWelcome: false,
      timer,
      onOver: () => {},
    };
    this.#current = attempt;
    wire.write(this.#options.hello());
  }

  #awaitWelcome(attempt: Attempt, passedMs: number): void {
    if (!attempt.wire.isConnected()) {
      this.#silences++;
      this.#ended(attempt, `no connection within ${passedMs / 1000} s`);
      return;
    }
    attempt.timer = this.#options.clock.after(Math.max(0, WELCOME_TIMEOUT_MS - passedMs), () => {
      this.#ended(attempt, `no answer within ${WELCOME_TIMEOUT_MS / 1000} s`);
    });
  }

  #hear(attempt: Attempt, message: ManagerMessage): void {
    if (attempt !== this.#current) return;
    try {
      const { body } = message;
      if (body?.$case === 'welcome') this.#welcome(attempt, body.value.nodeId);
      const update = body?.$case === 'welcome' ? body.value.update : body?.$case === 'update' ? body.value : undefined;
      if (update !== undefined) {
        this.#setPeriod(attempt, update.heartbeatPeriodMs);
        // None would leave this node with nobody to ask.
        if (update.managers.length > 0) this.#options.onManagers(update.managers);
        if (body?.$case === 'welcome') this.#options.onGatewaySubnet(update.gatewaySubnet);
        if (update.dataPathPort > 0) this.#options.onDataPathPort(update.dataPathPort);
        this.#options.onTrust({ trustPem: update.trustPem, issuerPem: update.issuerPem });
        if (update.role === 'worker' || update.role === 'manager') this.#options.onRole(update.role);
      }
      this.#options.onMessage(message);
    } catch (error) {
      this.#ended(attempt, messageOf(error));
    }
  }

  #welcome(attempt: Attempt, nodeId: string): void {
    if (nodeId !== this.#options.nodeId) {
      throw new ApiaryError('internal', `the manager takes this node for ${nodeId}; it is ${this.#options.nodeId}`);
    }
    attempt.isWelcome = true;
    this.#silences = 0;
    this.#beatLater(attempt);
    this.#options.onWelcome(attempt.manager);
  }

  #setPeriod(attempt: Attempt, periodMs: number): void {
    // Only when it is another: updates that come one after the other must not put off the heartbeat each time.
    if (periodMs === 0 || periodMs === this.#heartbeatPeriodMs) return;
    this.#heartbeatPeriodMs = periodMs;
    this.#beatLater(attempt);
  }

  #beatLater(attempt: Attempt): void {
    attempt.timer.cancel();
    attempt.timer = this.#options.clock.after(this.#heartbeatPeriodMs, () => {
      // Not at the welcome: one that ends soon after it, each time, must not be asked for without a pause.
      this.#search.succeeded();
      attempt.wire.write({ body: { $case: 'heartbeat', value: {} } });
      this.#beatLater(attempt);
    });
  }

  /** @param leaderAddr  as the manager said: empty when it knows no leader, undefined when it says nothing of it */
  #ended(attempt: Attempt, reason: string, leaderAddr?: string): void {
    if (attempt !== this.#current) return;
    this.#close(attempt);
    const { manager, isWelcome, startedMs } = attempt;
    this.#options.onEnded(manager, reason);
    const durationMs = isWelcome ? undefined : this.#options.clock.now() - startedMs;
    this.#connectIn(this.#search.ended({ manager, leaderAddr, durationMs }));
  }

  #gone(attempt: Attempt, reason: string): void {
    this.#close(attempt);
    this.#stopped = true;
    this.#options.onEnded(attempt.manager, reason);
    this.#options.onGone(reason);
  }

  #close(attempt: Attempt): void {
    if (attempt === this.#current) this.#current = undefined;
    attempt.timer.cancel();
    attempt.wire.close();
  }

  #connectIn(waitMs: number): void {
    if (this.#stopped) return;
    this.#retry = this.#options.clock.after(waitMs, () => this.#connect());
  }
}
