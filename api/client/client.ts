import type { IncomingMessage } from 'node:http';
import type {
  BoundJoinToken,
  ClientCertificate,
  ClientCertificateRequest,
  ClusterSpec,
  Config,
  ConfigSpec,
  ContentVersion,
  InitRequest,
  IssuedClientCertificate,
  JoinRequest,
  JoinTokenRequest,
  Network,
  NetworkSpec,
  Node,
  NodeSpec,
  Secret,
  SecretSpec,
  Service,
  ServiceSpec,
  Swarm,
  SwarmInfo,
  Task,
} from '@apiary/api/model';
import { type RequestOptions, type TlsFiles, Transport } from './transport.js';

/** Docker's filters of a list: for each key, the values of which one must match. */
export type Filters = Record<string, string[]>;

/** `GET /version`. */
export interface VersionInfo {
  Version: string;
  ApiVersion: string;
  MinAPIVersion: string;
  Os: string;
  Arch: string;
  Components: { Name: string; Version: string; Details?: Record<string, string> }[];
  [key: string]: unknown;
}

/** `GET /info`: the local engine's own answer, with the swarm part put in. */
export interface Info {
  Name: string;
  Swarm: SwarmInfo;
  [key: string]: unknown;
}

/** What `POST /services/create` answers. */
export interface ServiceCreated {
  ID: string;
  Warnings?: string[] | null;
}

/** A service and all its tasks at one moment. */
export interface ServiceSnapshot {
  service: Service;
  tasks: Task[];
  /** The ids of the tasks that are made from the spec that stands: an update replaces the others. */
  current: string[];
}

/** The calls of secrets or of configs. */
export type ContentCalls<T, S> = ReturnType<typeof contentCalls<T, S>>;

/** A service whose tasks are being spread anew, and how many of them are leaving their nodes now. */
export interface RebalanceState {
  ID: string;
  Name: string;
  Moving: number;
}

export type ApiClient = ReturnType<typeof createClient>;

/**
 * A client of the daemon at `host` (`unix:///PATH` or `tcp://HOST:PORT`). It holds no connection between requests.
 * Objects are named by id, by name or by an id's unique prefix.
 *
 * @throws ApiaryError `invalid-argument` when `host` is of another form
 */
export function createClient(host: string, tls?: TlsFiles | undefined) {
  const transport = new Transport(host, tls);
  const get = <T>(path: string, query?: RequestOptions['query']) => transport.request<T>('GET', path, { query });
  const list = <T>(path: string, filters: Filters | undefined, query: RequestOptions['query'] = {}) =>
    get<T[]>(path, { filters: filters === undefined ? undefined : JSON.stringify(filters), ...query });
  const post = <T>(path: string, body: unknown, query?: RequestOptions['query'], headers?: Record<string, string>) =>
    transport.request<T>('POST', path, { body, query, headers });

  return {
    host,

    /** Any request, its answer parsed when it is JSON. */
    request: <T>(method: string, path: string, options?: RequestOptions) => transport.request<T>(method, path, options),

    /** @returns the answer's headers: `api-version`, `swarm`, ... */
    async ping(): Promise<Record<string, string | string[] | undefined>> {
      const response = await transport.open('GET', '/_ping');
      response.resume();
      return response.headers;
    },
    version: () => get<VersionInfo>('/version'),
    info: () => get<Info>('/info'),
    /**
     * Events of the cluster and of the local engine, each a line of JSON: unparsed, for their time in nanoseconds is
     * more than a number holds.
     *
     * @param query  Docker's parameters: `since`, `until`, `filters`
     */
    events: (query: RequestOptions['query'], signal?: AbortSignal) => transport.textLines('/events', { query, signal }),

    /** @returns the id of this node */
    swarmInit: (request: InitRequest) => post<string>('/swarm/init', request),
    swarmJoin: (request: JoinRequest) => post<void>('/swarm/join', request),
    /** @returns warnings, if there are any: what the leaving costs those who stay */
    swarmLeave: (force = false) => post<{ Warnings?: string[] } | undefined>('/swarm/leave', undefined, { force }),
    swarmUnlock: (key: string) => post<void>('/swarm/unlock', { UnlockKey: key }),
    /** The key is empty while managers are not locked. */
    swarmUnlockKey: () => get<{ UnlockKey: string }>('/swarm/unlockkey'),
    createJoinToken: (request: JoinTokenRequest) => post<BoundJoinToken>('/apiary/v1/join-tokens', request),
    joinTokens: () => get<BoundJoinToken[]>('/apiary/v1/join-tokens'),
    removeJoinToken: (id: string) =>
      transport.request<void>('DELETE', `/apiary/v1/join-tokens/${encodeURIComponent(id)}`),
    createClientCertificate: (request: ClientCertificateRequest) =>
      post<IssuedClientCertificate>('/apiary/v1/client-certificates', request),
    clientCertificates: () => get<ClientCertificate[]>('/apiary/v1/client-certificates'),
    /** @param reference  id or name */
    revokeClientCertificate: (reference: string) =>
      transport.request<void>('DELETE', `/apiary/v1/client-certificates/${encodeURIComponent(reference)}`),
    swarmInspect: () => get<Swarm>('/swarm'),
    swarmUpdate: (
      version: number,
      spec: ClusterSpec,
      rotate: { rotateWorkerToken?: boolean; rotateManagerToken?: boolean; rotateManagerUnlockKey?: boolean } = {},
    ) => post<void>('/swarm/update', spec, { version, ...rotate }),

    nodes: (filters?: Filters) => list<Node>('/nodes', filters),
    /** @param id  also a hostname or `self` */
    node: (id: string) => get<Node>(`/nodes/${encodeURIComponent(id)}`),
    /** @param options.isForced  demotes a manager even if the cluster loses its quorum by it */
    updateNode: (id: string, version: number, spec: NodeSpec, options: { isForced?: boolean } = {}) =>
      post<void>(`/nodes/${encodeURIComponent(id)}/update`, spec, {
        version,
        force: options.isForced === true ? true : undefined,
      }),
    removeNode: (id: string, force = false) =>
      transport.request<void>('DELETE', `/nodes/${encodeURIComponent(id)}`, { query: { force } }),

    /** @param options.status  counts each service's tasks into `ServiceStatus` */
    services: (filters?: Filters, options: { status?: boolean } = {}) => list<Service>('/services', filters, options),
    /** @param options.insertDefaults  fills Docker's defaults into what the spec leaves open */
    service: (id: string, options: { insertDefaults?: boolean } = {}) =>
      get<Service>(`/services/${encodeURIComponent(id)}`, options),
    createService: (spec: ServiceSpec, options: { registryAuth?: string } = {}) =>
      post<ServiceCreated>('/services/create', spec, undefined, authHeader(options.registryAuth)),
    updateService: (
      id: string,
      version: number,
      spec: ServiceSpec,
      options: { rollback?: boolean; registryAuthFrom?: 'spec' | 'previous-spec'; registryAuth?: string } = {},
    ) =>
      post<{ Warnings?: string[] | null }>(
        `/services/${encodeURIComponent(id)}/update`,
        spec,
        {
          version,
          rollback: options.rollback === true ? 'previous' : undefined,
          registryAuthFrom: options.registryAuthFrom,
        },
        authHeader(options.registryAuth),
      ),
    removeService: (id: string) => transport.request<void>('DELETE', `/services/${encodeURIComponent(id)}`),

    networks: (filters?: Filters) => list<Network>('/networks', filters),
    network: (id: string, query: { verbose?: boolean; scope?: string } = {}) =>
      get<Network>(`/networks/${encodeURIComponent(id)}`, query),
    /** How much of the subnet of a network of the cluster is in use. */
    networkUsage: (id: string) =>
      get<{ Subnet: string; IPsInUse: number; DynamicIPsAvailable: number }[]>(
        `/apiary/v1/networks/${encodeURIComponent(id)}/usage`,
      ),
    createNetwork: (spec: NetworkSpec) => post<{ Id: string; Warning: string }>('/networks/create', spec),
    removeNetwork: (id: string) => transport.request<void>('DELETE', `/networks/${encodeURIComponent(id)}`),
    /** @returns the names of those that went */
    pruneNetworks: (filters?: Filters) =>
      post<{ NetworksDeleted: string[] | null }>('/networks/prune', undefined, {
        filters: filters === undefined ? undefined : JSON.stringify(filters),
      }),

    secrets: contentCalls<Secret, SecretSpec>(transport, 'secrets'),
    configs: contentCalls<Config, ConfigSpec>(transport, 'configs'),

    /** The cluster's state as one consistent file, still to be read: whole when the stream ends without an error. */
    backup: (signal?: AbortSignal): Promise<IncomingMessage> => transport.open('GET', '/apiary/v1/backup', { signal }),

    /** Another key for what the manager that is asked keeps on its disk. */
    rotateLogKey: () => transport.request<{ KeyId: string }>('POST', '/apiary/v1/log-key/rotate'),

    /**
     * The output of a service's tasks, still to be read: in Docker's frames, or raw when it has a terminal.
     *
     * @param query  Docker's parameters: `follow`, `stdout`, `since`, ...
     */
    serviceLogs: (id: string, query: RequestOptions['query'], signal?: AbortSignal): Promise<IncomingMessage> =>
      transport.open('GET', `/services/${encodeURIComponent(id)}/logs`, { query, signal }),
    taskLogs: (id: string, query: RequestOptions['query'], signal?: AbortSignal): Promise<IncomingMessage> =>
      transport.open('GET', `/tasks/${encodeURIComponent(id)}/logs`, { query, signal }),

    /** Spreads a service's tasks anew over the nodes, so many at once. @param parallelism  0 ends it */
    rebalanceService: (id: string, parallelism: number) =>
      post<void>(`/apiary/v1/services/${encodeURIComponent(id)}/rebalance`, undefined, { parallelism }),
    /** Of all services. @returns how many */
    rebalanceNodes: (parallelism: number) =>
      post<{ Services: number }>('/apiary/v1/nodes/rebalance', undefined, { parallelism }),
    rebalancing: async () => (await get<{ Services: RebalanceState[] }>('/apiary/v1/rebalance')).Services,

    tasks: (filters?: Filters) => list<Task>('/tasks', filters),
    task: (id: string) => get<Task>(`/tasks/${encodeURIComponent(id)}`),

    /**
     * The service and its tasks now, and again after every change of either. Ends when the service is removed.
     * Leaving the loop, or aborting `signal`, closes the connection.
     *
     * @throws ApiaryError `not-found` when there is no such service; `unavailable` when the connection is lost
     */
    watchService: (id: string, signal?: AbortSignal): AsyncGenerator<ServiceSnapshot, void, void> =>
      transport.lines<ServiceSnapshot>('/apiary/v1/watch', { query: { service: id }, signal }),
  };
}

/** Secrets, or configs. */
function contentCalls<T, S>(transport: Transport, kinds: 'secrets' | 'configs') {
  const at = (id: string) => `/${kinds}/${encodeURIComponent(id)}`;
  return {
    list: (filters?: Filters) =>
      transport.request<T[]>('GET', `/${kinds}`, { query: { filters: filters && JSON.stringify(filters) } }),
    get: (id: string) => transport.request<T>('GET', at(id)),
    /** @param spec  `Data` in base64 */
    create: (spec: S) => transport.request<{ ID: string }>('POST', `/${kinds}/create`, { body: spec }),
    /** Labels alone, as with Docker. */
    update: (id: string, version: number, spec: S) =>
      transport.request<void>('POST', `${at(id)}/update`, { body: spec, query: { version } }),
    /**
     * Gives the name of `id` other data. Services that follow the name are updated.
     *
     * @returns the id of the version that the name then has: as before when the data are
     */
    putVersion: (id: string, version: ContentVersion) =>
      transport.request<{ ID: string }>('POST', `/apiary/v1${at(id)}/versions`, { body: version }),
    remove: (id: string) => transport.request<void>('DELETE', at(id)),
  };
}

function authHeader(registryAuth: string | undefined): Record<string, string> | undefined {
  return registryAuth === undefined ? undefined : { 'x-registry-auth': registryAuth };
}
