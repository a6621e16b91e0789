import { fromRpcError } from '@apiary/api/client';
import { type AgentMessage, DispatcherClient, type ManagerAddress, type ManagerMessage } from '@apiary/api/rpc';
import { ApiaryError, type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import type { ChannelCredentials, ChannelOptions, ClientDuplexStream } from '@grpc/grpc-js';
import { backOffMs } from '../core/index.js';

const RETRY = { firstMs: 100, capMs: 2_000 };
/** A manager that has not answered by then is not there, or is cut off: another one is tried. */
const WELCOME_TIMEOUT_MS = 3_000;
const FIRST_HEARTBEAT_PERIOD_MS = 1_000;

export interface ManagerSessionOptions {
  nodeId: string;
  /** Where managers are, `HOST:PORT`, as last heard. */
  managers: () => string[];
  channel: () => { credentials: ChannelCredentials; options: ChannelOptions };
  clock: Clock;
  rng: Rng;
  /** What is said first in a session. */
  hello: () => AgentMessage;
  /** A session has begun. */
  onWelcome(manager: string): void;
  /** @throws ApiaryError when it makes no sense: the session starts anew */
  onMessage(message: ManagerMessage): void;
  onManagers(managers: ManagerAddress[]): void;
  onEnded(manager: string, reason: string): void;
  /** The managers do not know this node any more. No other session is tried. */
  onGone(reason: string): void;
}

interface Attempt {
  manager: string;
  client: DispatcherClient;
  stream: ClientDuplexStream<AgentMessage, ManagerMessage>;
  isWelcome: boolean;
  /** For the welcome first, then for the next heartbeat. */
  timer: Timer;
}

/** A session with one of the managers, whichever answers; when it ends, the next one. */
export class ManagerSession {
  readonly #options: ManagerSessionOptions;
  #current: Attempt | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #next: number;
  #heartbeatPeriodMs = FIRST_HEARTBEAT_PERIOD_MS;
  #stopped = false;

  constructor(options: ManagerSessionOptions) {
    this.#options = options;
    // Agents spread over the managers.
    this.#next = options.rng.below(1 << 16);
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
    if (this.#current?.isWelcome) this.#current.stream.write(message);
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
        attempt.stream.once('end', done).once('error', done);
        attempt.stream.write(last);
        attempt.stream.end();
      });
    }
    this.#close(attempt);
  }

  #connect(): void {
    const addrs = this.#options.managers();
    const manager = addrs[this.#next++ % Math.max(1, addrs.length)];
    if (manager === undefined) {
      this.#again();
      return;
    }
    const { credentials, options } = this.#options.channel();
    const client = new DispatcherClient(manager, credentials, options);
    const stream = client.session();
    const timer = this.#options.clock.after(WELCOME_TIMEOUT_MS, () => {
      this.#ended(attempt, `no answer within ${WELCOME_TIMEOUT_MS / 1000} s`);
    });
    const attempt: Attempt = { manager, client, stream, isWelcome: false, timer };
    this.#current = attempt;
    stream.on('data', (message: ManagerMessage) => this.#hear(attempt, message));
    stream.on('end', () => this.#ended(attempt, 'the manager ended the session'));
    stream.on('error', (error) => {
      const { code, message } = fromRpcError(error);
      if (code === 'not-found' && attempt === this.#current) this.#gone(attempt, message);
      else this.#ended(attempt, message);
    });
    stream.write(this.#options.hello());
  }

  #hear(attempt: Attempt, message: ManagerMessage): void {
    if (attempt !== this.#current) return;
    try {
      const { body } = message;
      if (body?.$case === 'welcome') this.#welcome(attempt, body.value.nodeId);
      const update = body?.$case === 'welcome' ? body.value.update : body?.$case === 'update' ? body.value : undefined;
      if (update !== undefined) {
        if (update.heartbeatPeriodMs > 0) this.#heartbeatPeriodMs = update.heartbeatPeriodMs;
        this.#beatLater(attempt);
        // None would leave this node with nobody to ask.
        if (update.managers.length > 0) this.#options.onManagers(update.managers);
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
    this.#beatLater(attempt);
    this.#options.onWelcome(attempt.manager);
  }

  #beatLater(attempt: Attempt): void {
    attempt.timer.cancel();
    attempt.timer = this.#options.clock.after(this.#heartbeatPeriodMs, () => {
      // Not at the welcome: one that ends soon after it, each time, must not be asked for without a pause.
      this.#failures = 0;
      attempt.stream.write({ body: { $case: 'heartbeat', value: {} } });
      this.#beatLater(attempt);
    });
  }

  #ended(attempt: Attempt, reason: string): void {
    if (attempt !== this.#current) return;
    this.#close(attempt);
    this.#options.onEnded(attempt.manager, reason);
    this.#again();
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
    attempt.stream.cancel();
    attempt.client.close();
  }

  #again(): void {
    if (this.#stopped) return;
    this.#failures++;
    const { clock, rng } = this.#options;
    this.#retry = clock.after(backOffMs(this.#failures, RETRY, rng), () => this.#connect());
  }
}
