import type { EngineNeed, GenericResource } from '@apiary/api/model';
import { ApiaryError, type Clock } from '@apiary/std';
import {
  type ContainerConfig,
  type EngineContainer,
  GATEWAY_ADDRESS_LABEL,
  GATEWAY_IPV6_LABEL,
  GATEWAY_PORTS_LABEL,
  LogFrames,
  NETWORKS_LABEL,
  networksOfLabel,
  readPortsLabel,
  TASK_LABELS,
  writePortsLabel,
} from '../core/index.js';
import type { Engine, EngineEvent, HostDescription, LogsOptions, OutputLine } from './engine.js';
import { EngineHttp } from './engine-http.js';
import { ImagePulls } from './image-pulls.js';

/** The newest Engine API that this client knows. */
const NEWEST_API = { major: 1, minor: 48 };

/** An engine that works answers a ping at once, whatever it is busy with; a loaded machine may take its time. */
const PING_TIMEOUT_MS = 8_000;
/** A call that only reads, and one that makes the engine work: under a burst of starts each may take its time. */
const READ_TIMEOUT_MS = 30_000;
const WORK_TIMEOUT_MS = 120_000;

/** How many containers are inspected at a time after a start. */
const ADOPT_PARALLELISM = 4;

/** A name may be taken by a create that the engine is still busy with (whoever asked for it was killed). */
const CREATE_CONFLICT = { tries: 50, delayMs: 100 };

/** Docker Engine over its unix socket, API 1.24 to 1.48. */
export function dockerEngine({ socketPath, clock }: { socketPath: string; clock: Clock }): Engine & { close(): void } {
  return new DockerEngine(new EngineHttp(socketPath, clock), clock);
}

interface ContainerInspection {
  Id: string;
  Config?: { Labels?: Record<string, string> | null; Tty?: boolean };
  State?: {
    Status?: string;
    Pid?: number;
    ExitCode?: number;
    OOMKilled?: boolean;
    Error?: string;
    Health?: { Status?: string };
  };
  NetworkSettings?: { Ports?: Record<string, { HostPort?: string }[] | null> | null };
}

interface EngineInfo {
  Name?: string;
  Architecture?: string;
  OSType?: string;
  NCPU?: number;
  MemTotal?: number;
  ServerVersion?: string;
  Labels?: string[] | null;
  Plugins?: Record<string, string[] | null>;
  GenericResources?: GenericResource[] | null;
  SecurityOptions?: string[] | null;
  DockerRootDir?: string;
}

interface EventMessage {
  Action?: string;
  Actor?: { ID?: string; Attributes?: Record<string, string> };
}

class DockerEngine implements Engine {
  readonly #http: EngineHttp;
  readonly #clock: Clock;
  readonly #pulls: ImagePulls;
  #prefix: Promise<string> | undefined;
  #version = '';
  containerRoot = { uid: 0, gid: 0 };

  constructor(http: EngineHttp, clock: Clock) {
    this.#http = http;
    this.#clock = clock;
    this.#pulls = new ImagePulls(http, clock, () => this.#versionPrefix());
  }

  close(): void {
    this.#http.close();
  }

  async ping(): Promise<void> {
    await this.#http.request('GET', '/_ping', { timeoutMs: PING_TIMEOUT_MS });
  }

  async describe(): Promise<HostDescription> {
    const info = (await this.#call('GET', '/info')) as EngineInfo;
    const labels = Object.fromEntries((info.Labels ?? []).map((label) => splitOnce(label, '=')));
    const plugins = Object.entries(info.Plugins ?? {}).flatMap(([Type, names]) =>
      (names ?? []).map((Name) => ({ Type, Name })),
    );
    this.containerRoot = containerRootOf(info);
    this.#version = info.ServerVersion ?? '';
    plugins.sort((a, b) => compare(a.Type, b.Type) || compare(a.Name, b.Name));
    return {
      Hostname: info.Name ?? '',
      Platform: { Architecture: info.Architecture ?? '', OS: info.OSType ?? '' },
      Resources: {
        NanoCPUs: (info.NCPU ?? 0) * 1e9,
        MemoryBytes: info.MemTotal ?? 0,
        ...(info.GenericResources && { GenericResources: info.GenericResources }),
      },
      Engine: {
        EngineVersion: info.ServerVersion ?? '',
        ...(Object.keys(labels).length > 0 && { Labels: labels }),
        Plugins: plugins,
      },
    };
  }

  /** Engines leave out what they do not know without a word. */
  async #refuseUnknown(needs: readonly EngineNeed[]): Promise<void> {
    const prefix = await this.#versionPrefix();
    const minor = Number(prefix.split('.')[1]);
    const unmet = needs.find(({ apiMinor }) => minor < apiMinor);
    if (unmet === undefined) return;
    throw new ApiaryError(
      'failed-precondition',
      `engine ${this.#version} (API ${prefix.slice(2)}) knows no ${unmet.what}: ` +
        `upgrade it to ${unmet.engineMajor}.0 (API 1.${unmet.apiMinor}) or newer, or leave that out`,
    );
  }

  async adopt(): Promise<EngineContainer[]> {
    const filters = JSON.stringify({ label: [TASK_LABELS.taskId] });
    const listed = await this.#call('GET', `/containers/json?${new URLSearchParams({ all: 'true', filters })}`);
    const ids = (listed as { Id: string }[]).map(({ Id }) => Id);
    const found: EngineContainer[] = [];
    const worker = async () => {
      for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
        const container = await this.inspect(id);
        if (container !== undefined) found.push(container);
      }
    };
    await Promise.all(Array.from({ length: ADOPT_PARALLELISM }, worker));
    return found.sort((a, b) => compare(a.id, b.id));
  }

  async pull(image: string, signal: AbortSignal, registryAuth?: string): Promise<void> {
    await this.#pulls.pull(image, signal, registryAuth);
  }

  async create({ name, taskId, body, engineNeeds = [] }: ContainerConfig): Promise<string> {
    await this.#refuseUnknown(engineNeeds);
    for (let tries = 1; ; tries++) {
      try {
        const path = `/containers/create?${new URLSearchParams({ name })}`;
        return ((await this.#call('POST', path, { body, timeoutMs: WORK_TIMEOUT_MS })) as { Id: string }).Id;
      } catch (error) {
        if (codeOf(error) === 'not-found') this.#pulls.forget(String(body['Image']));
        if (codeOf(error) !== 'already-exists') throw error;
        const earlier = await this.inspect(name);
        if (earlier?.taskId === taskId && isAsAsked(earlier, body)) return earlier.id;
        if (earlier?.taskId === taskId) await this.remove(earlier.id);
        else if (earlier !== undefined || tries === CREATE_CONFLICT.tries) throw error;
        await new Promise<void>((resolve) => this.#clock.after(CREATE_CONFLICT.delayMs, resolve));
      }
    }
  }

  async start(containerId: string): Promise<void> {
    await this.#call('POST', `/containers/${containerId}/start`, { timeoutMs: WORK_TIMEOUT_MS });
  }

  async inspect(containerId: string): Promise<EngineContainer | undefined> {
    try {
      const path = `/containers/${encodeURIComponent(containerId)}/json`;
      return readContainer((await this.#call('GET', path)) as ContainerInspection);
    } catch (error) {
      if (codeOf(error) === 'not-found') return undefined;
      throw error;
    }
  }

  async stop(containerId: string, graceMs: number): Promise<void> {
    try {
      await this.#call('POST', `/containers/${containerId}/stop?t=${Math.ceil(graceMs / 1000)}`, {
        timeoutMs: graceMs + WORK_TIMEOUT_MS,
      });
    } catch (error) {
      if (codeOf(error) !== 'not-found') throw error;
    }
  }

  async remove(containerId: string): Promise<void> {
    try {
      await this.#call('DELETE', `/containers/${containerId}?v=true`, { timeoutMs: WORK_TIMEOUT_MS });
    } catch (error) {
      if (codeOf(error) !== 'not-found') throw error;
    }
  }

  async *logs(
    containerId: string,
    options: LogsOptions,
    signal: AbortSignal,
  ): AsyncGenerator<OutputLine[], void, void> {
    const path = `/containers/${encodeURIComponent(containerId)}`;
    const { Config } = (await this.#call('GET', `${path}/json`)) as ContainerInspection;
    const query = new URLSearchParams({
      follow: String(options.follow),
      stdout: String(options.stdout),
      stderr: String(options.stderr),
      timestamps: 'true',
      tail: options.tail < 0 ? 'all' : String(options.tail),
      ...(options.since !== '' && { since: options.since }),
      ...(options.details === true && { details: 'true' }),
    });
    const frames = new LogFrames({ isTty: Config?.Tty === true, withDetails: options.details === true });
    const url = `${await this.#versionPrefix()}${path}/logs?${query}`;
    try {
      for await (const chunk of this.#http.bytes('GET', url, { timeoutMs: READ_TIMEOUT_MS, signal })) {
        const lines = frames.push(chunk);
        if (lines.length > 0) yield lines;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    yield frames.finish();
  }

  async watch(onEvent: (event: EngineEvent) => void, onLost: (reason: string) => void): Promise<{ close(): void }> {
    // An engine that comes back may be another version of itself.
    this.#prefix = undefined;
    const query = new URLSearchParams({
      // The engine begins to answer before it begins to listen: what falls between is told from its memory.
      since: String(Math.floor(this.#clock.now() / 1000) - 1),
      filters: JSON.stringify({
        type: ['container'],
        event: ['create', 'start', 'die', 'health_status', 'destroy'],
        label: [TASK_LABELS.taskId],
      }),
    });
    const path = `${await this.#versionPrefix()}/events?${query}`;
    let closed = false;
    const stream = await this.#http.stream('GET', path, { timeoutMs: READ_TIMEOUT_MS }, (message) => {
      const event = readEvent(message as EventMessage);
      if (event !== undefined && !closed) onEvent(event);
    });
    const lost = (reason: string) => {
      if (closed) return;
      closed = true;
      onLost(reason);
    };
    stream.ended.then(
      () => lost(`unix://${this.#http.socketPath} closed its event stream`),
      (error: unknown) => lost(error instanceof Error ? error.message : String(error)),
    );
    return {
      close() {
        closed = true;
        stream.close();
      },
    };
  }

  async #call(
    method: string,
    path: string,
    { body, timeoutMs = READ_TIMEOUT_MS }: { body?: unknown; timeoutMs?: number } = {},
  ): Promise<unknown> {
    const url = `${await this.#versionPrefix()}${path}`;
    return (await this.#http.request(method, url, { body, timeoutMs })).body;
  }

  /** `/v1.41`: the newest version that both sides know, asked for once. */
  #versionPrefix(): Promise<string> {
    this.#prefix ??= this.#negotiate().catch((error: unknown) => {
      this.#prefix = undefined;
      throw error;
    });
    return this.#prefix;
  }

  async #negotiate(): Promise<string> {
    const { headers } = await this.#http.request('GET', '/_ping', { timeoutMs: PING_TIMEOUT_MS });
    const [, major, minor] = /^(\d+)\.(\d+)$/.exec(String(headers['api-version'])) ?? [];
    if (major === undefined || minor === undefined) {
      throw new ApiaryError('unavailable', `unix://${this.#http.socketPath} is no Docker Engine`);
    }
    const older = Number(major) === NEWEST_API.major ? Math.min(Number(minor), NEWEST_API.minor) : NEWEST_API.minor;
    return `/v${NEWEST_API.major}.${older}`;
  }
}

/** With remapped users, the engine keeps its data in a folder that is named for who root is: `/var/lib/docker/165536.165536`. */
function containerRootOf({ SecurityOptions, DockerRootDir = '' }: EngineInfo): { uid: number; gid: number } {
  const isRemapped = (SecurityOptions ?? []).some((option) => option.split(',').includes('name=userns'));
  const [, uid, gid] = (isRemapped && /\/(\d+)\.(\d+)\/?$/.exec(DockerRootDir)) || [];
  return { uid: Number(uid ?? 0), gid: Number(gid ?? 0) };
}

/** One made for an agent that was killed may have an address that is another's by now; one that was started has it. */
function isAsAsked(
  { state, gatewayAddress, gatewayIpv6Address, ports }: EngineContainer,
  body: ContainerConfig['body'],
): boolean {
  const labels = body['Labels'] as Record<string, string> | undefined;
  if (state !== 'created') return true;
  const isSame =
    gatewayAddress === labels?.[GATEWAY_ADDRESS_LABEL] && gatewayIpv6Address === labels?.[GATEWAY_IPV6_LABEL];
  return isSame && writePortsLabel(ports) === (labels?.[GATEWAY_PORTS_LABEL] ?? '');
}

function readContainer({ Id, Config, State = {}, NetworkSettings }: ContainerInspection): EngineContainer | undefined {
  const labels = Config?.Labels ?? {};
  const taskId = labels[TASK_LABELS.taskId];
  if (taskId === undefined) return undefined;
  const state = stateOf(State.Status);
  const serviceId = labels[TASK_LABELS.serviceId];
  const gatewayAddress = labels[GATEWAY_ADDRESS_LABEL];
  const gatewayIpv6Address = labels[GATEWAY_IPV6_LABEL];
  const portsLabel = labels[GATEWAY_PORTS_LABEL];
  // The engine calls every container that has ended unhealthy.
  const health = state === 'running' ? State.Health?.Status : undefined;
  return {
    id: Id,
    taskId,
    nodeId: labels[TASK_LABELS.nodeId] ?? '',
    ...(serviceId !== undefined && {
      origin: {
        taskName: labels[TASK_LABELS.taskName] ?? '',
        serviceId,
        serviceName: labels[TASK_LABELS.serviceName] ?? '',
      },
    }),
    state,
    pid: State.Pid ?? 0,
    exitCode: State.ExitCode ?? 0,
    oomKilled: State.OOMKilled ?? false,
    error: State.Error ?? '',
    ...((health === 'starting' || health === 'healthy' || health === 'unhealthy') && { health }),
    ...(gatewayAddress !== undefined && { gatewayAddress, networks: networksOfLabel(labels[NETWORKS_LABEL]) }),
    ...(gatewayIpv6Address !== undefined && { gatewayIpv6Address }),
    ports: portsLabel === undefined ? readPorts(NetworkSettings?.Ports ?? {}) : readPortsLabel(portsLabel),
  };
}

function stateOf(status: string | undefined): EngineContainer['state'] {
  if (status === 'created') return 'created';
  return status === 'running' || status === 'paused' || status === 'restarting' ? 'running' : 'exited';
}

/** The ports bound on the host. The engine names each once for IPv4 and once for IPv6. */
function readPorts(ports: Record<string, { HostPort?: string }[] | null>): EngineContainer['ports'] {
  const result: EngineContainer['ports'] = [];
  for (const [key, bindings] of Object.entries(ports)) {
    const [target, protocol] = splitOnce(key, '/');
    for (const published of new Set((bindings ?? []).map(({ HostPort }) => Number(HostPort)))) {
      result.push({ protocol, targetPort: Number(target), publishedPort: published });
    }
  }
  return result;
}

const EVENT_KINDS: Readonly<Record<string, EngineEvent['kind']>> = {
  create: 'created',
  start: 'started',
  die: 'ended',
  health_status: 'health',
  destroy: 'removed',
};

function readEvent({ Action = '', Actor = {} }: EventMessage): EngineEvent | undefined {
  // "health_status: healthy"
  const kind = EVENT_KINDS[splitOnce(Action, ':')[0]];
  const taskId = Actor.Attributes?.[TASK_LABELS.taskId];
  if (kind === undefined || taskId === undefined || Actor.ID === undefined) return undefined;
  return { containerId: Actor.ID, taskId, nodeId: Actor.Attributes?.[TASK_LABELS.nodeId] ?? '', kind };
}

function codeOf(error: unknown): string | undefined {
  return error instanceof ApiaryError ? error.code : undefined;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
