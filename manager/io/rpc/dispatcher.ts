import { isIP } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { formatHostPort, parseHostPort } from '@apiary/api/model';
import {
  type AgentMessage,
  type DescriptionUpdate,
  type DispatcherServer,
  DispatcherService,
  type ManagerMessage,
  type SessionUpdate,
  type StatusReport,
} from '@apiary/api/rpc';
import { ApiaryError, type Clock, invariant, messageOf, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import { heartbeatPeriodMs, MISSED_HEARTBEATS } from '../../core/dispatch/liveness.js';
import { NetworkBook } from '../../core/dispatch/network-book.js';
import type { Observation } from '../../core/dispatch/observation.js';
import { roleOfNode } from '../../core/dispatch/told-role.js';
import { subnetToTell } from '../../core/dispatch/told-subnet.js';
import { trustToTell } from '../../core/dispatch/told-trust.js';
import { managersOf } from '../../core/engine-api/index.js';
import { dataPathPortOf } from '../../core/requests/index.js';
import type { Touched } from '../../core/store/change.js';
import { notOfCluster } from '../../core/trust/access.js';
import type { Replica } from '../ports.js';
import { newSession, type Session, type SharedUpdate } from './agent-session.js';
import { type AgentCall, AgentStream } from './agent-stream.js';
import { callerOf } from './caller.js';
import { ContentFeed } from './content-feed.js';
import { HeartbeatWatch } from './heartbeat-watch.js';
import { bounded, hostOf, readDescription, readIpv6Addresses, readReport } from './messages.js';
import { downObservation, leaderAddrOf, noLeader } from './no-session.js';
import { Recorder } from './recorder.js';
import { RenewalTurns } from './renewal-turns.js';
import { sendAssigned } from './sent-assignments.js';
import type { RpcService } from './server.js';
import { UnseenNodes } from './unseen-nodes.js';

/** How long after a new leader, or a manager's restart, agents have to find it before any is declared down. */
const NEW_LEADER_GRACE_MS = 10_000;
/** How long a session waits for this manager to learn of a leader, before its agent is sent to ask elsewhere. */
const LEADER_PATIENCE_MS = 2_000;
/** When a new leader could not find out what was committed: until it tries again. */
const BARRIER_RETRY_MS = 200;
/** How long an engine may be away before its node is declared down: a restart of the engine moves no tasks. */
const ENGINE_GRACE_MS = 5_000;
/** How long a stream may be open before the agent says Hello. */
const HELLO_TIMEOUT_MS = 10_000;

/**
 * Hands tasks to agents and hears what becomes of them, while this manager leads. What it learns goes through the
 * recorder into the log; what agents are told follows from committed state, entry by entry. While another leads, agents
 * are sent there; while nobody does, they wait a little, so that they are there as soon as somebody does.
 */
export class Dispatcher {
  readonly service: RpcService;
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Of the term that is led, while it is. */
  #recorder: Recorder | undefined;
  /** Of the term that is led: what nodes are told of networks. */
  #networks: NetworkBook | undefined;
  readonly #heartbeats: HeartbeatWatch;
  readonly #unseen: UnseenNodes;
  readonly #renewals: RenewalTurns;
  readonly #sessions = new Map<string, Session>();
  /** Streams on which no Hello was said yet. */
  readonly #silent = new Set<Session>();
  readonly #dirty = new Set<Session>();
  readonly #sessionListeners = new Set<(nodeId: string) => void>();
  readonly #logNothing = new Set<(nodeId: string, queryId: string) => void>();
  readonly #unsubscribe: (() => void)[];
  #isFlushScheduled = false;
  #term: number | undefined;
  #isClosed = false;
  #barrierRetry: Timer | undefined;
  #update: SharedUpdate = {
    heartbeatPeriodMs: heartbeatPeriodMs({}, 0),
    managers: [],
    dataPathPort: dataPathPortOf(undefined),
    ...trustToTell(undefined),
  };

  constructor({ replica, clock, log }: { replica: Replica; clock: Clock; log: Logger }) {
    this.#replica = replica;
    this.#clock = clock;
    this.#log = log;
    this.#unseen = new UnseenNodes({ replica, clock, log });
    this.#renewals = new RenewalTurns({ view: replica.view, clock, onTurn: (nodeId) => this.#tellTrust(nodeId) });
    this.#heartbeats = new HeartbeatWatch({
      clock,
      periodMs: this.#update.heartbeatPeriodMs,
      isExcused: (nodeId) => this.#sessions.get(nodeId)?.stream.isPaused ?? false,
      onSilence: (nodeId) => void this.#onSilence(nodeId),
    });
    const implementation: DispatcherServer = {
      session: (call) => {
        const caller = callerOf(call);
        invariant(caller !== undefined, 'only nodes of the cluster are let in');
        this.accept(call, caller.nodeId);
      },
    };
    this.service = { definition: DispatcherService, implementation, access: 'node' };
    this.#unsubscribe = [
      replica.subscribe((touched) => this.#onTouched(touched)),
      replica.onLeadership(() => void this.#onLeadership()),
    ];
    void this.#onLeadership();
  }

  /** Says something to a node's agent, if it has a session. @returns whether it has */
  tell(nodeId: string, body: NonNullable<ManagerMessage['body']>): boolean {
    const session = this.#sessions.get(nodeId);
    if (session?.phase !== 'welcome' || session.stream.isOver) return false;
    session.stream.send(body);
    return true;
  }

  /** Calls `listener` with the id of each node whose session has begun; returns what ends that. */
  onSession(listener: (nodeId: string) => void): () => void {
    this.#sessionListeners.add(listener);
    return () => this.#sessionListeners.delete(listener);
  }

  /** As `AgentLine` has it. */
  onLogNothing(listener: (nodeId: string, queryId: string) => void): () => void {
    this.#logNothing.add(listener);
    return () => this.#logNothing.delete(listener);
  }

  /** Ends every session. Nodes stay as they are: their agents find the next leader, or this manager again. */
  close(): void {
    this.#isClosed = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#stopLeading();
    this.#endAll('the manager is stopping');
  }

  async #onLeadership(): Promise<void> {
    const { role, term } = this.#replica.leadership;
    if (role !== 'leader') {
      if (this.#term !== undefined) this.#log.info({ term: this.#term }, 'not dispatching any more: another leads');
      this.#stopLeading();
      const leaderAddr = leaderAddrOf(this.#replica);
      if (leaderAddr !== '') this.#endAll('this manager does not lead: its leader does', leaderAddr);
      else for (const session of this.#sessions.values()) session.stream.end(noLeader(), '');
      return;
    }
    if (term === this.#term) return;
    this.#stopLeading();
    try {
      await this.#replica.barrier();
      const now = this.#replica.leadership;
      if (now.role === 'leader' && now.term === term && !this.#isClosed) this.#lead(term);
    } catch (error) {
      if (this.#isClosed) return;
      this.#log.warn({ err: error, term }, 'not dispatching yet: what was committed is not known');
      this.#barrierRetry?.cancel();
      this.#barrierRetry = this.#clock.after(BARRIER_RETRY_MS, () => void this.#onLeadership());
    }
  }

  #lead(term: number): void {
    if (this.#term === term) return;
    this.#term = term;
    this.#recorder = new Recorder(this.#replica, term);
    this.#networks = new NetworkBook(this.#replica.view);
    this.#refreshUpdate();
    const nodes = this.#replica.view.nodes();
    const ready = nodes.filter(({ status }) => status.state === 'ready').map(({ id }) => id);
    this.#heartbeats.expectWithin(ready, NEW_LEADER_GRACE_MS);
    this.#unseen.watch(nodes.map(({ id }) => id));
    for (const session of this.#silent) this.#awaitHello(session);
  }

  #stopLeading(): void {
    this.#term = undefined;
    this.#recorder = undefined;
    this.#networks = undefined;
    this.#barrierRetry?.cancel();
    this.#heartbeats.clear();
    this.#unseen.clear();
    this.#renewals.clear();
  }

  #endAll(why: string, leaderAddr?: string): void {
    for (const session of [...this.#sessions.values(), ...this.#silent]) {
      session.stream.end(new ApiaryError('unavailable', why), leaderAddr);
    }
  }

  /** Begins a session with the agent of a node, who is known to be that. */
  accept(call: AgentCall, nodeId: string): void {
    const stream = new AgentStream(call, this.#clock, {
      message: (message) => this.#onMessage(session, message),
      flushed: () => {
        if (session.isBehind) this.#scheduleFlush(session);
      },
      halfClosed: () => {
        session.isHalfClosed = true;
        this.#endIfDone(session);
      },
      over: () => this.#onOver(session),
    });
    // gRPC writes IPv6 without brackets: what follows the last colon is the port.
    const session = newSession(nodeId, stream, hostOf(call.getPeer().replace(/:\d+$/, '')));
    this.#silent.add(session);
    const leaderAddr = leaderAddrOf(this.#replica);
    if (this.#term !== undefined) this.#awaitHello(session);
    else if (leaderAddr !== '') stream.end(new ApiaryError('unavailable', 'this manager does not lead'), leaderAddr);
    else this.#awaitLeader(session);
  }

  /** What the agent says meanwhile stays unread. */
  #awaitLeader(session: Session): void {
    session.stream.pause();
    session.helloTimer = this.#clock.after(LEADER_PATIENCE_MS, () => session.stream.end(noLeader(), ''));
  }

  #awaitHello(session: Session): void {
    session.helloTimer.cancel();
    session.helloTimer = this.#clock.after(HELLO_TIMEOUT_MS, () => {
      const message = `node ${session.nodeId}: no Hello within ${HELLO_TIMEOUT_MS} ms`;
      session.stream.end(new ApiaryError('failed-precondition', message));
    });
    session.stream.resume();
  }

  #onOver(session: Session): void {
    session.helloTimer.cancel();
    session.engineTimer?.cancel();
    this.#silent.delete(session);
    this.#dirty.delete(session);
    if (this.#sessions.get(session.nodeId) !== session) return;
    this.#sessions.delete(session.nodeId);
    this.#renewals.forget(session.nodeId);
  }

  #onMessage(session: Session, { body }: AgentMessage): void {
    if (session.phase === 'silent') {
      if (body?.$case === 'hello' && body.value.description !== undefined) {
        session.contents = new ContentFeed(body.value.contentKey);
        this.#onHello(session, body.value.description);
      } else {
        session.stream.end(new ApiaryError('failed-precondition', 'a session starts with Hello and a description'));
      }
      return;
    }
    this.#heard(session);
    switch (body?.$case) {
      case 'hello':
        session.stream.end(new ApiaryError('failed-precondition', 'Hello was said before in this session'));
        return;
      case 'statusReport':
        this.#onReport(session, body.value);
        return;
      case 'description':
        this.#bounded(session, async () => this.#record(this.#observe(session, body.value)));
        return;
      case 'goodbye':
        this.#onGoodbye(session, body.value.reason);
        return;
      case 'attachments':
        this.#bounded(session, async () => {
          await session.attachments.report(this.#replica, session, body.value, this.#term);
          this.#markBehind(session);
        });
        return;
      case 'logNothing':
        for (const listener of this.#logNothing) listener(session.nodeId, body.value.queryId);
        return;
      default:
      // A heartbeat, or what a newer agent says that this manager has no word for.
    }
  }

  #onHello(session: Session, description: DescriptionUpdate): void {
    const older = this.#sessions.get(session.nodeId);
    this.#silent.delete(session);
    session.helloTimer.cancel();
    session.phase = 'introduced';
    this.#sessions.set(session.nodeId, session);
    older?.stream.end(new ApiaryError('failed-precondition', `node ${session.nodeId} opened a newer session`));
    this.#heard(session);
    this.#guarded(session, async () => {
      await this.#record(this.#observe(session, description));
      if (session.stream.isOver) return;
      const clusterId = this.#replica.view.cluster()?.id ?? '';
      session.phase = 'welcome';
      const update = this.#updateFor(session);
      session.stream.send({ $case: 'welcome', value: { nodeId: session.nodeId, clusterId, update } });
      this.#log.info({ nodeId: session.nodeId, addr: session.addr }, 'session opened');
      this.#flush(session);
      for (const listener of this.#sessionListeners) listener(session.nodeId);
    });
  }

  #onReport(session: Session, report: StatusReport): void {
    const { updates, faults } = readReport(report);
    if (faults.length > 0) this.#log.warn({ nodeId: session.nodeId, faults }, 'status updates that make no sense');
    this.#bounded(session, async () => {
      await this.#record([{ type: 'tasks', nodeId: session.nodeId, updates }]);
      session.stream.send({ $case: 'statusAck', value: { sequence: report.sequence } });
    });
  }

  #onGoodbye(session: Session, reason: string): void {
    const { nodeId } = session;
    this.#log.info({ nodeId, reason: bounded(reason) }, 'node says goodbye');
    this.#guarded(session, async () => {
      await this.#record([downObservation(nodeId, bounded(reason) || 'the node left', session.addr)]);
      // Not before: what could not be recorded has to be noticed.
      if ([undefined, session].includes(this.#sessions.get(nodeId))) this.#heartbeats.forget(nodeId);
      session.stream.end();
    });
  }

  /** What an agent's description of its node tells: what the node is, and whether it can run tasks. */
  #observe(session: Session, update: DescriptionUpdate): Observation[] {
    const { nodeId } = session;
    const observations: Observation[] = [];
    // Without its engine an agent has to guess: that must not take away what tasks were placed by.
    const isGuess = update.engineError !== '' && this.#replica.view.node(nodeId)?.description !== undefined;
    const description = isGuess ? undefined : readDescription(update);
    if (description !== undefined) observations.push({ type: 'description', nodeId, description });
    if (update.managerAddr !== '') {
      const managerAddr = formatHostPort(parseHostPort(bounded(update.managerAddr), 'manager address'));
      observations.push({ type: 'manager-addr', nodeId, managerAddr });
    }
    observations.push({ type: 'wireguard-key', nodeId, wireguardKey: bounded(update.wireguardKey) });
    const { dataPathAddr = '' } = update;
    observations.push({ type: 'data-path-addr', nodeId, dataPathAddr: isIP(dataPathAddr) === 0 ? '' : dataPathAddr });
    observations.push({ type: 'ipv6-addresses', nodeId, ipv6Addresses: readIpv6Addresses(update) });
    session.addr = update.advertiseAddr === '' ? session.peerAddr : hostOf(update.advertiseAddr);
    session.engineError = bounded(update.engineError);
    if (session.engineError === '') {
      session.engineTimer?.cancel();
      session.engineTimer = undefined;
      observations.push({ type: 'status', nodeId, status: { state: 'ready', message: '', addr: session.addr } });
    } else {
      session.engineTimer ??= this.#clock.after(ENGINE_GRACE_MS, () => this.#onEngineLost(session));
    }
    return observations;
  }

  #onEngineLost(session: Session): void {
    const message = `engine unavailable: ${session.engineError}`;
    this.#log.warn({ nodeId: session.nodeId, engineError: session.engineError }, 'node is down: its engine is away');
    this.#guarded(session, async () => {
      await this.#record([downObservation(session.nodeId, message, session.addr)]);
    });
  }

  /** @throws ApiaryError as `Recorder.record`; `unavailable` when this manager has ceased to lead */
  async #record(observations: Observation[]): Promise<void> {
    if (this.#recorder === undefined) throw noLeader();
    await this.#recorder.record(observations);
  }

  /** Does `work` for a session, which is over when it fails: the agent comes back, and says again what is not recorded. */
  #guarded(session: Session, work: () => Promise<void>): void {
    session.workUnderWay++;
    work()
      .catch((error: unknown) => {
        const { nodeId } = session;
        if (!(error instanceof ApiaryError)) this.#log.error({ err: error, nodeId }, 'session failed');
        else this.#log.warn({ nodeId, error: error.message }, 'session ended');
        session.stream.end(error instanceof ApiaryError ? error : new ApiaryError('internal', 'internal error'));
      })
      .finally(() => {
        session.workUnderWay--;
        this.#endIfDone(session);
      });
  }

  /** As `#guarded`; of an agent that brings more of it than can be recorded, what it says next stays unread. */
  #bounded(session: Session, work: () => Promise<void>): void {
    session.stream.began();
    this.#guarded(session, async () => {
      await work();
      if (session.stream.done()) this.#heard(session);
    });
  }

  #endIfDone(session: Session): void {
    if (session.isHalfClosed && session.workUnderWay === 0) session.stream.end();
  }

  #heard(session: Session): void {
    if (this.#sessions.get(session.nodeId) === session) this.#heartbeats.heard(session.nodeId);
  }

  async #onSilence(nodeId: string): Promise<void> {
    const session = this.#sessions.get(nodeId);
    session?.stream.end(new ApiaryError('unavailable', `node ${nodeId} missed ${MISSED_HEARTBEATS} heartbeats`));
    const node = this.#replica.view.node(nodeId);
    if (node === undefined) return;
    this.#log.warn({ nodeId }, 'node is down: heartbeat failure');
    try {
      await this.#record([downObservation(nodeId, 'heartbeat failure', node.status.addr)]);
    } catch (error) {
      this.#log.error({ nodeId, error: messageOf(error) }, 'cannot record that a node is down: trying again');
      if (this.#term !== undefined && !this.#sessions.has(nodeId)) this.#heartbeats.heard(nodeId);
    }
  }

  #onTouched(touched: Touched): void {
    if (this.#term === undefined) return;
    this.#unseen.watch(touched.nodes);
    this.#renewals.onTouched(touched);
    for (const nodeId of touched.nodes) {
      if (this.#replica.view.node(nodeId) !== undefined) {
        const session = this.#sessions.get(nodeId);
        if (session !== undefined && session.role !== roleOfNode(this.#replica.view, session.nodeId))
          this.#markBehind(session);
        continue;
      }
      this.#heartbeats.forget(nodeId);
      for (const session of [this.#sessions.get(nodeId), ...this.#silent]) {
        if (session?.nodeId === nodeId) session.stream.end(notOfCluster(nodeId));
      }
    }
    if (touched.cluster || touched.nodes.size > 0) this.#refreshUpdate();
    const news = this.#networks?.update(this.#replica.view, touched);
    if (news !== undefined && (news.nodes || news.ports || news.networkIds.size > 0)) {
      for (const session of this.#sessions.values()) if (session.networks.concerns(news)) this.#markBehind(session);
    }
    // Which of them are attachable every node is told.
    if (touched.networks.size > 0) for (const session of this.#sessions.values()) this.#markBehind(session);
    for (const nodeId of touched.assignments) {
      const session = this.#sessions.get(nodeId);
      if (session !== undefined) this.#markBehind(session);
    }
  }

  /** What every session is told besides its tasks. */
  #refreshUpdate(): void {
    const { view } = this.#replica;
    const update = {
      heartbeatPeriodMs: heartbeatPeriodMs(view.cluster()?.spec ?? {}, view.nodes().length),
      managers: managersOf(view),
      dataPathPort: dataPathPortOf(view.cluster()),
      ...trustToTell(view.cluster()),
    };
    if (isDeepStrictEqual(update, this.#update)) return;
    this.#heartbeats.setPeriod(update.heartbeatPeriodMs);
    this.#update = update;
    for (const session of this.#sessions.values()) this.#markBehind(session);
  }

  /** What a session is to be told of the cluster and of its node's role; it counts as told. */
  #updateFor(session: Session): SessionUpdate {
    session.update = this.#update;
    session.role = roleOfNode(this.#replica.view, session.nodeId);
    const node = this.#replica.view.node(session.nodeId);
    // For as long as the node's record lives, it is the same.
    const gatewaySubnet = node === undefined ? '' : subnetToTell(node);
    const trust = this.#renewals.toldTo(session.nodeId);
    return { ...this.#update, ...trust, role: session.role ?? '', gatewaySubnet };
  }

  /** All is said again to a node whose turn to renew has come. */
  #tellTrust(nodeId: string): void {
    const session = this.#sessions.get(nodeId);
    if (session === undefined) return;
    session.update = undefined;
    this.#markBehind(session);
  }

  #markBehind(session: Session): void {
    session.isBehind = true;
    this.#scheduleFlush(session);
  }

  /** Sends what is new for a session once for all the entries that are applied together. */
  #scheduleFlush(session: Session): void {
    this.#dirty.add(session);
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    queueMicrotask(() => {
      this.#isFlushScheduled = false;
      const dirty = [...this.#dirty];
      this.#dirty.clear();
      // For one whose last message is still on its way, the difference is taken once that has gone.
      for (const each of dirty) if (each.stream.isFlushed) this.#guarded(each, async () => this.#flush(each));
    });
  }

  /** @throws ApiaryError when the agent has no key to which contents could be sealed */
  #flush(session: Session): void {
    if (session.stream.isOver || session.phase !== 'welcome') return;
    session.isBehind = false;
    if (session.update !== this.#update || session.role !== roleOfNode(this.#replica.view, session.nodeId)) {
      session.stream.send({ $case: 'update', value: this.#updateFor(session) });
    }
    sendAssigned(session, this.#replica.view, this.#networks);
  }
}
