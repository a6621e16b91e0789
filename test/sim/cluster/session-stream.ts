import { fromRpcError, LEADER_ADDR_KEY, rpcStatusOf } from '@apiary/api/client';
import type { AgentMessage, ManagerMessage } from '@apiary/api/rpc';
import type { AgentCall } from '@apiary/manager/io';
import { ApiaryError } from '@apiary/std';
import type { SessionWire, SessionWireHandlers } from '@apiary/worker/io';
import type { HostNetwork } from './host-network.js';
import type { SimulatedProcess } from './simulated-process.js';

export interface StreamEnd {
  host: string;
  process: SimulatedProcess;
}

/** One direction of a stream: in order, held back while nothing passes. */
class Direction {
  readonly #network: HostNetwork;
  readonly #from: string;
  readonly #to: StreamEnd;
  #held: { arrive: () => void; onSent: () => void }[] = [];

  constructor(network: HostNetwork, from: string, to: StreamEnd) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
  }

  send(arrive: () => void, onSent: () => void = () => {}): void {
    this.#held.push({ arrive, onSent });
    this.flush();
  }

  flush(): void {
    if (this.#network.isCut(this.#from, this.#to.host)) return;
    for (const { arrive, onSent } of this.#held.splice(0)) {
      this.#network.carry(this.#from, this.#to.host, () => this.#to.process.run(arrive));
      onSent();
    }
  }
}

/**
 * The stream of one session over the simulated network, in gRPC's place: what was written arrives in order or not at
 * all, and either end may be gone without the other hearing of it.
 */
export class SessionStream {
  readonly agentEnd: AgentEnd;
  readonly managerEnd: ManagerEnd;
  readonly agent: StreamEnd;
  readonly manager: StreamEnd;
  readonly #forget: () => void;

  constructor(network: HostNetwork, agent: StreamEnd, manager: StreamEnd, handlers: SessionWireHandlers) {
    const toManager = new Direction(network, agent.host, manager);
    const toAgent = new Direction(network, manager.host, agent);
    this.agent = agent;
    this.manager = manager;
    this.agentEnd = new AgentEnd(toManager, handlers, () => this.managerEnd);
    this.managerEnd = new ManagerEnd(toAgent, agent.host, manager.process, () => this.agentEnd);
    this.#forget = network.mind({
      hosts: [agent.host, manager.host],
      flush: () => {
        toManager.flush();
        toAgent.flush();
      },
      lose: () => {
        this.loseFor('agent');
        this.loseFor('manager');
      },
    });
  }

  /** One end hears that the connection is gone. */
  loseFor(end: 'agent' | 'manager'): void {
    this.#forget();
    const lost = rpcStatusOf(new ApiaryError('unavailable', 'the connection was lost'));
    if (end === 'agent') this.agent.process.run(() => this.agentEnd.hearEnd(lost));
    else this.manager.process.run(() => this.managerEnd.hearGone());
  }
}

class AgentEnd implements SessionWire {
  readonly #out: Direction;
  readonly #handlers: SessionWireHandlers;
  readonly #other: () => ManagerEnd;
  #isOver = false;

  constructor(out: Direction, handlers: SessionWireHandlers, other: () => ManagerEnd) {
    this.#out = out;
    this.#handlers = handlers;
    this.#other = other;
  }

  write(message: AgentMessage): void {
    if (!this.#isOver) this.#out.send(() => this.#other().hear(message));
  }

  end(): void {
    if (!this.#isOver) this.#out.send(() => this.#other().hearHalfClosed());
  }

  isConnected(): boolean {
    return !this.#isOver;
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#out.send(() => this.#other().hearGone());
  }

  hear(message: ManagerMessage): void {
    if (!this.#isOver) this.#handlers.message(message);
  }

  hearEnd(status: { code: number; details: string } | undefined, leaderAddr?: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (status === undefined) this.#handlers.ended();
    else this.#handlers.failed(fromRpcError(status), leaderAddr);
  }
}

class ManagerEnd implements AgentCall {
  readonly #out: Direction;
  readonly #host: string;
  readonly #process: SimulatedProcess;
  readonly #other: () => AgentEnd;
  readonly #listeners: { data: ((message: AgentMessage) => void)[]; over: (() => void)[]; end: (() => void)[] } = {
    data: [],
    over: [],
    end: [],
  };
  #unread: (AgentMessage | 'end')[] = [];
  #isPaused = false;
  #isOver = false;

  constructor(out: Direction, host: string, process: SimulatedProcess, other: () => AgentEnd) {
    this.#out = out;
    this.#host = host;
    this.#process = process;
    this.#other = other;
  }

  on(event: 'data', listener: (message: AgentMessage) => void): void;
  on(event: 'end' | 'cancelled' | 'error' | 'close', listener: () => void): void;
  on(event: string, listener: (message: AgentMessage) => void): void {
    if (event === 'data') this.#listeners.data.push(listener);
    else if (event === 'end') this.#listeners.end.push(listener as () => void);
    else if (event === 'close') this.#listeners.over.push(listener as () => void);
    // gRPC streams begin to flow with the first listener, in the next turn.
    if (event === 'data') queueMicrotask(() => this.#process.run(() => this.#read()));
  }

  getPeer(): string {
    return `${addressOf(this.#host)}:40000`;
  }

  isPaused(): boolean {
    return this.#isPaused;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    queueMicrotask(() => this.#process.run(() => this.#read()));
  }

  write(message: ManagerMessage, onWritten: () => void): void {
    if (this.#isOver) return;
    this.#out.send(
      () => this.#other().hear(message),
      () => queueMicrotask(() => this.#process.run(onWritten)),
    );
  }

  end(): void {
    if (!this.#isOver) this.#out.send(() => this.#other().hearEnd(undefined));
    this.#isOver = true;
  }

  emit(_event: 'error', status: Parameters<AgentCall['emit']>[1]): void {
    const leaderAddr = status.metadata?.get(LEADER_ADDR_KEY)[0]?.toString();
    const { code = 2, details = '' } = status;
    if (!this.#isOver) this.#out.send(() => this.#other().hearEnd({ code, details }, leaderAddr));
    this.#isOver = true;
  }

  hear(message: AgentMessage): void {
    this.#unread.push(message);
    this.#read();
  }

  hearHalfClosed(): void {
    this.#unread.push('end');
    this.#read();
  }

  hearGone(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const listener of this.#listeners.over) listener();
  }

  #read(): void {
    while (!this.#isPaused && this.#listeners.data.length > 0) {
      const next = this.#unread.shift();
      if (next === undefined) return;
      if (next === 'end') for (const listener of this.#listeners.end) listener();
      else for (const listener of this.#listeners.data) listener(next);
    }
  }
}

/** Of the host `h7`: 10.0.0.7. */
export function addressOf(host: string): string {
  return `10.0.0.${host.slice(1)}`;
}
