import * as os from 'node:os';
import { tlsInfoOf } from '@apiary/api/client';
import type { GenericResource, NodeDescription, TaskStatus } from '@apiary/api/model';
import type { AttachmentsReport, DescriptionUpdate, ManagerMessage } from '@apiary/api/rpc';
import type { Clock, Rng, Timer } from '@apiary/std';
import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import {
  type AssignedTask,
  AssignmentSet,
  isUrgent,
  NetworkPicture,
  type NodeFacts,
  StatusOutbox,
} from '../core/index.js';
import type { Engine, HostDescription } from './engine.js';
import { EngineLink } from './engine-link.js';
import { managerCredentials, type NodeIdentity } from './enrolment/channel.js';
import { issuerOf } from './enrolment/identity.js';
import type { History } from './history.js';
import { LogPublisher } from './log-publisher.js';
import { ManagerSession } from './manager-session.js';
import { type Dial, dialOverGrpc } from './session-wire.js';
import { TaskContents } from './task-contents/index.js';
import type { TaskNetwork } from './task-network.js';
import { TaskRunners } from './task-runners.js';

/** For how long a status that nobody waits for may wait for company. */
const LAZY_REPORT_MS = 250;
/** For how long the first session waits for the engine's description. */
const ENGINE_PATIENCE_MS = 1_000;
/** Until the engine has answered, or failed to. */
const NOT_HEARD_OF = 'no answer yet';
/** Messages that say how the cluster's networks are. */
const NETWORK_NEWS: ReadonlySet<string> = new Set(['attachments', 'endpoints', 'nodes', 'publishedPorts']);
const GATEWAY_TROUBLE_LABEL = 'apiary.gateway.trouble';
const VIP_TROUBLE_LABEL = 'apiary.vips.trouble';

export interface AgentOptions {
  /** Who this node is; asked anew at each attempt, since certificates are renewed. Always of the same node. */
  identity: () => NodeIdentity;
  /** Where managers are, `HOST:PORT`; asked anew at each attempt. Empty: tried again later. */
  managers: () => string[];
  /** The address by which other nodes reach this one. */
  advertiseAddr: string;
  /** Where what is sent between hosts comes from and goes to, where that is another. */
  dataPathAddr?: string | undefined;
  engine: Engine;
  /** What this node has for tasks beside CPU and memory; of a kind that the engine knows too, this counts. */
  genericResources?: readonly GenericResource[];
  /** What gives tasks their network, for as long as this agent lives; without it the engine does. */
  network?: (onTrouble: () => void) => TaskNetwork;
  /** Where tasks' secrets and configs are mounted, for as long as the machine is up; without it, nowhere. */
  contentsDirectory?: string;
  /** Where the output of tasks is kept when their containers are removed; without it, it is gone with them. */
  history?: History;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** The managers told where they all are. */
  onManagers?: (managers: { nodeId: string; addr: string }[]) => void;
  /**
   * What this node is to be, said at the start of every session and whenever it changes: its certificate, and whether
   * it runs a manager, are for the owner to follow.
   */
  onRole?: (role: 'worker' | 'manager') => void;
  /** Whom the leader says to trust, and whose certificate to have: for the owner to follow. PEM. */
  onTrust?: (trust: { trustPem: string; issuerPem: string }) => void;
  /** Where this node's manager is reached, `HOST:PORT`, or empty when it runs none; asked anew for each description. */
  managerAddr?: () => string;
  /** This node was removed from the cluster. The containers of its tasks are being removed. */
  onGone?: (reason: string) => void;
  /** How to reach a manager; by default over mutual TLS with the identity. */
  channel?: () => { credentials: ChannelCredentials; options: ChannelOptions };
  /** What carries sessions; by default gRPC over `channel`. */
  dial?: Dial;
}

export interface AgentState {
  /** The manager that this node has a session with. */
  manager: string | undefined;
  /** Empty while the engine answers, else why it does not. */
  engineError: string;
  /** Tasks that are assigned, and containers that are being removed. */
  tasks: number;
}

export interface Agent {
  state(): AgentState;
  /** Tells the managers of this node what has changed: where its own manager is reached. */
  describe(): void;
  /** Begins the session anew, with the certificate that this node has by now. */
  reconnect(): void;
  /** Ends the agent. Containers run on, and the next agent of this node adopts them. */
  stop(): Promise<void>;
  /** Says goodbye to the managers, and stops and removes every container of this node's tasks. */
  leave(): Promise<void>;
}

/**
 * Runs what the managers assign to this node, and tells them how it goes: one session, one engine, a runner a task.
 * Nothing that runs is touched before a manager has said what it wants.
 */
export function startAgent(options: AgentOptions): Agent {
  return new WorkerAgent(options);
}

class WorkerAgent implements Agent {
  readonly #options: AgentOptions;
  readonly #nodeId: string;
  readonly #session: ManagerSession;
  readonly #link: EngineLink;
  readonly #runners: TaskRunners;
  readonly #network: TaskNetwork | undefined;
  readonly #contents: TaskContents | undefined;
  readonly #assignments = new AssignmentSet();
  readonly #picture: NetworkPicture;
  readonly #outbox = new StatusOutbox();
  readonly #logs: LogPublisher;
  #host: HostDescription = hostWithoutEngine();
  #engineError = NOT_HEARD_OF;
  /** The description that the managers have of this session. */
  #told = '';
  #toldAttachments: AttachmentsReport | undefined;
  #flushing = false;
  #lazyFlush: Timer | undefined;
  #patience: Timer | undefined;
  #stopped = false;

  constructor(options: AgentOptions) {
    this.#options = options;
    const { identity, managers, engine, clock, rng, logger } = options;
    const channel = options.channel ?? (() => managerCredentials(identity()));
    this.#nodeId = identity().nodeId;
    this.#picture = new NetworkPicture(this.#nodeId);
    this.#network = options.network?.(() => this.#describe());
    const { contentsDirectory: directory } = options;
    if (directory !== undefined) {
      this.#contents = new TaskContents({ directory, containerRoot: () => engine.containerRoot, logger });
    }
    this.#link = new EngineLink(engine, clock, rng, {
      onUp: (containers, description) => {
        if (!['', NOT_HEARD_OF].includes(this.#engineError)) logger.info('the engine is back');
        this.#host = description;
        this.#engineError = '';
        this.#describe();
        this.#runners.engineUp(containers, this.#nodeFacts());
        this.#startSession();
      },
      onDown: (reason) => {
        if (['', NOT_HEARD_OF].includes(this.#engineError)) logger.error({ reason }, 'the engine is gone');
        this.#engineError = reason;
        this.#describe();
        this.#runners.engineDown(reason);
        this.#startSession();
      },
      onEvent: (event) => this.#runners.engineEvent(event),
      onDescription: (description) => {
        this.#host = description;
        this.#describe();
      },
    });
    this.#runners = new TaskRunners(this.#nodeFacts(), {
      engine,
      ...(this.#network !== undefined && { network: this.#network }),
      ...(this.#contents !== undefined && { contents: this.#contents }),
      contentOf: (id) => this.#assignments.content(id),
      registryAuthOf: (taskId) => this.#assignments.registryAuth(taskId),
      ...(options.history !== undefined && { history: options.history }),
      clock,
      rng,
      logger,
      onStatus: (task, status) => this.#report(task, status),
      onForgotten: (taskId) => {
        this.#outbox.forget(taskId);
        this.#logs.taskChanged(taskId);
      },
      onNoAnswer: (reason) => this.#link.suspect(reason),
    });
    this.#logs = new LogPublisher({
      engine,
      clock,
      logger,
      history: options.history,
      containerOf: (taskId) => this.#runners.containerOf(taskId),
      onNothing: (queryId) => this.#session.send({ body: { $case: 'logNothing', value: { queryId } } }),
      manager: () => (this.#session.manager === undefined ? undefined : { addr: this.#session.manager, ...channel() }),
    });
    this.#session = new ManagerSession({
      nodeId: this.#nodeId,
      managers,
      dial: options.dial ?? dialOverGrpc(channel),
      clock,
      rng,
      hello: () => ({
        body: { $case: 'hello', value: { description: this.#description(), contentKey: this.#contentKey } },
      }),
      onWelcome: (manager) => {
        logger.info({ manager }, 'session with a manager');
        this.#assignments.sessionBegan();
        this.#toldAttachments = undefined;
        // What changed between hello and welcome.
        this.#describe();
        this.#flushSoon();
      },
      onMessage: (message) => this.#hear(message),
      onManagers: (managers) => options.onManagers?.(managers),
      onRole: (role) => options.onRole?.(role),
      onTrust: (trust) => options.onTrust?.(trust),
      onGatewaySubnet: (subnet) => this.#network?.use(subnet),
      onDataPathPort: (port) => {
        this.#picture.dataPath(port);
        this.#drawNetworks();
      },
      onEnded: (manager, reason) => {
        logger.warn({ manager, reason }, 'no session with the manager');
        this.#outbox.sessionEnded();
      },
      onGone: (reason) => {
        logger.error({ reason }, 'this node is no longer part of the cluster');
        // Its tasks run elsewhere by now, and nobody will ever say again what should run here.
        void this.#runners.removeAll();
        // Their addresses are others' from now on.
        void this.#network?.putOut();
        options.onGone?.(reason);
      },
    });
    this.#link.start();
    this.#patience = clock.after(ENGINE_PATIENCE_MS, () => this.#startSession());
  }

  state(): AgentState {
    return { manager: this.#session.manager, engineError: this.#engineError, tasks: this.#runners.size };
  }

  describe(): void {
    this.#describe();
  }

  reconnect(): void {
    this.#session.renew();
  }

  async stop(): Promise<void> {
    this.#end();
    await this.#session.stop();
    await this.#contents?.settled();
    await this.#network?.close();
  }

  async leave(): Promise<void> {
    // While the managers can hear of it.
    await this.#network?.putOut();
    // The session ends before tasks do: nothing that it still says may bring a task back.
    await this.#session.stop({ body: { $case: 'goodbye', value: { reason: 'the node leaves the cluster' } } });
    await this.#runners.removeAll();
    if (this.#engineError !== '') {
      this.#options.logger.warn(
        { reason: this.#engineError },
        'the engine is gone: its containers could not be removed',
      );
    }
    this.#end();
    await this.#contents?.settled();
    await this.#options.history?.clear();
    await this.#network?.remove();
  }

  /** Once the engine has answered or failed to, so that the managers hear at once what the node has. */
  #startSession(): void {
    if (this.#patience === undefined || this.#stopped) return;
    this.#patience.cancel();
    this.#patience = undefined;
    this.#session.start();
  }

  #end(): void {
    this.#stopped = true;
    this.#patience?.cancel();
    this.#lazyFlush?.cancel();
    this.#logs.stop();
    this.#runners.stop();
    this.#link.stop();
  }

  #hear({ body }: ManagerMessage): void {
    if (body?.$case === 'assignments') {
      const { changed, removed } = this.#assignments.apply(body.value);
      // What comes before all that this node should have is of no use alone: contents of secrets, for the tasks to come.
      if (this.#assignments.isComplete) {
        this.#drawNetworks();
        this.#runners.assign({ changed, removed });
      }
    }
    if (body?.$case === 'attachments') this.#picture.attachments(body.value);
    if (body?.$case === 'endpoints') this.#picture.endpoints(body.value);
    if (body?.$case === 'nodes') this.#picture.nodes(body.value);
    if (body?.$case === 'publishedPorts') this.#picture.publishedPorts(body.value);
    if (body !== undefined && NETWORK_NEWS.has(body.$case)) this.#drawNetworks();
    if (body?.$case === 'logQuery') this.#logs.query(body.value);
    if (body?.$case === 'logCancel') this.#logs.cancel(body.value.queryId);
    if (body?.$case === 'statusAck') {
      this.#outbox.acknowledge(body.value.sequence);
      this.#flushSoon();
    }
  }

  #drawNetworks(): void {
    const state = this.#picture.state(this.#assignments.tasks, this.#assignments.networks);
    if (state !== undefined) this.#network?.apply(state);
  }

  #report(task: AssignedTask, status: TaskStatus): void {
    this.#options.logger.debug({ task: task.id, state: status.state, err: status.err }, 'task');
    this.#outbox.put(task.id, status, isUrgent(status, task.desiredState));
    this.#logs.taskChanged(task.id);
    this.#flushSoon();
  }

  /** Sends what is due once the current turn of the event loop is over: all that happened in it goes together. */
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      if (this.#stopped) return;
      const { due } = this.#outbox;
      if (due === 'urgent') this.#flush();
      else if (due === 'lazy') this.#lazyFlush ??= this.#options.clock.after(LAZY_REPORT_MS, () => this.#flush());
    });
  }

  #flush(): void {
    this.#lazyFlush?.cancel();
    this.#lazyFlush = undefined;
    if (this.#session.manager === undefined) return;
    const report = this.#outbox.nextReport();
    if (report === undefined) return;
    const updates = report.updates.map(({ taskId, status }) => ({ taskId, statusJson: JSON.stringify(status) }));
    this.#session.send({ body: { $case: 'statusReport', value: { sequence: report.sequence, updates } } });
  }

  /** Tells the managers what this node is and has, unless they know. */
  #describe(): void {
    if (this.#session.manager === undefined) return;
    const before = this.#told;
    const value = this.#description();
    if (this.#told !== before) this.#session.send({ body: { $case: 'description', value } });
    const attachments = this.#network?.attachments;
    if (attachments === undefined || attachments === this.#toldAttachments) return;
    this.#toldAttachments = attachments;
    this.#session.send({ body: { $case: 'attachments', value: attachments } });
  }

  #description(): DescriptionUpdate {
    const description: NodeDescription = this.#describedHost();
    const update: DescriptionUpdate = {
      descriptionJson: JSON.stringify(description),
      advertiseAddr: this.#options.advertiseAddr,
      engineError: this.#engineError,
      managerAddr: this.#options.managerAddr?.() ?? '',
      wireguardKey: this.#network?.wireguardKey ?? '',
      dataPathAddr: this.#options.dataPathAddr,
      ipv6Addresses: this.#network?.ipv6Addresses ?? '',
    };
    this.#told = JSON.stringify(update);
    return update;
  }

  /**
   * Where tasks are not on the gateway network, or VIPs lead nowhere, a label among the engine's own says why. The driver
   * of overlay networks is this node's own: it is among the plugins while there is no trouble.
   */
  #describedHost(): HostDescription {
    const host = {
      ...withGenericResources(this.#host, this.#options.genericResources ?? []),
      ...this.#trusted(),
    };
    if (this.#network === undefined) return host;
    const { trouble, vipTrouble } = this.#network;
    host.Engine = { ...host.Engine, Plugins: withOverlay(host.Engine.Plugins, trouble === '') };
    if (trouble === '' && vipTrouble === '') return host;
    const { Engine } = host;
    const Labels = {
      ...Engine.Labels,
      ...(trouble !== '' && { [GATEWAY_TROUBLE_LABEL]: trouble }),
      ...(vipTrouble !== '' && { [VIP_TROUBLE_LABEL]: vipTrouble }),
    };
    return { ...host, Engine: { ...Engine, Labels } };
  }

  /** Whom this node trusts, and who signed its certificate. */
  #trusted(): Pick<NodeDescription, 'TLSInfo'> {
    const identity = this.#options.identity();
    const issuer = issuerOf(identity);
    return issuer === undefined ? {} : { TLSInfo: tlsInfoOf(identity.rootPem, issuer.toString()) };
  }

  get #contentKey(): Buffer {
    return this.#contents?.contentKey ?? Buffer.alloc(0);
  }

  #nodeFacts(): NodeFacts {
    return { id: this.#nodeId, hostname: this.#host.Hostname, platform: this.#host.Platform };
  }
}

function withOverlay(plugins: HostDescription['Engine']['Plugins'], isThere: boolean): typeof plugins {
  const isOverlay = ({ Type, Name }: (typeof plugins)[number]) => Type === 'Network' && Name === 'overlay';
  if (!plugins.some(({ Type }) => Type === 'Network') || isThere === plugins.some(isOverlay)) return plugins;
  if (!isThere) return plugins.filter((plugin) => !isOverlay(plugin));
  // Behind the other drivers of networks, for the list is sorted.
  const last = plugins.findLastIndex(({ Type, Name }) => Type < 'Network' || (Type === 'Network' && Name < 'overlay'));
  return [...plugins.slice(0, last + 1), { Type: 'Network', Name: 'overlay' }, ...plugins.slice(last + 1)];
}

function withGenericResources(host: HostDescription, given: readonly GenericResource[]): HostDescription {
  const kindOf = ({ NamedResourceSpec: named, DiscreteResourceSpec: counted }: GenericResource) =>
    named?.Kind ?? counted?.Kind;
  const kinds = new Set(given.map(kindOf));
  const known = (host.Resources.GenericResources ?? []).filter((resource) => !kinds.has(kindOf(resource)));
  const GenericResources = [...known, ...given];
  return GenericResources.length === 0 ? host : { ...host, Resources: { ...host.Resources, GenericResources } };
}

/** What can be said of the host while there is no engine to ask. */
function hostWithoutEngine(): HostDescription {
  return {
    Hostname: os.hostname(),
    Platform: { Architecture: os.machine(), OS: os.platform() },
    Resources: { NanoCPUs: os.availableParallelism() * 1e9, MemoryBytes: os.totalmem() },
    Engine: { EngineVersion: '', Plugins: [] },
  };
}
