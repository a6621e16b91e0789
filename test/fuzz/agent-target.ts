import { type AgentMessage, DispatcherService, type ManagerMessage } from '@apiary/api/rpc';
import { invariant, SeededRng, VirtualClock } from '@apiary/std';
import { type Engine, type EngineContainer, type SessionWireHandlers, startAgent } from '@apiary/worker/io';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { HollowNetwork } from '../sim/cluster/hollow-network.js';
import { DESCRIPTION, NETWORK } from './cluster.js';
import { damaged } from './damage.js';
import type { OpenTarget, Target, Verdict } from './target.js';

/** What an agent reads of a manager: tasks, networks, ports, questions for logs. */

const NODE = 'n1';
const TEMPLATE = {
  ContainerSpec: {
    Image: 'busybox',
    Env: ['A={{.Task.Slot}}'],
    Mounts: [{ Type: 'volume', Source: 'v', Target: '/v' }],
    Secrets: [{ SecretID: 'c1', SecretName: 's', File: { Name: 's', UID: '0', GID: '0', Mode: 292 } }],
    Healthcheck: { Test: ['CMD', 'true'], Interval: 1e9 },
  },
  RestartPolicy: { Condition: 'any' },
};
const TASK = {
  taskId: 't1',
  serviceId: 's1',
  specVersion: 1,
  slot: 1,
  desiredState: 'running',
  observedState: 'assigned',
  networks: [{ networkId: 'net', address: '10.0.0.3', ipv6Address: 'fd00::3', aliases: ['web'] }],
  genericResourcesJson: '',
};
const SPEC = {
  serviceId: 's1',
  specVersion: 1,
  serviceName: 'web',
  serviceLabels: { a: 'b' },
  taskTemplateJson: JSON.stringify(TEMPLATE),
  endpointSpecJson: JSON.stringify({ Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080 }] }),
  contentIds: {},
};
const UPDATE = {
  heartbeatPeriodMs: 1_000,
  managers: [{ nodeId: 'm1', addr: '10.0.0.1:2377' }],
  role: 'worker',
  gatewaySubnet: '10.224.3.0/24',
  dataPathPort: 4789,
  trustPem: '',
  issuerPem: '',
};
type Body = NonNullable<ManagerMessage['body']>;
const WELCOME: Body = { $case: 'welcome', value: { nodeId: NODE, clusterId: 'c', update: UPDATE } };
const assignments = (fields: Partial<Extract<Body, { $case: 'assignments' }>['value']>): Body => ({
  $case: 'assignments',
  value: {
    complete: true,
    specs: [],
    tasks: [],
    removedTaskIds: [],
    networks: [],
    contents: [],
    removedContentIds: [],
    ...fields,
  },
});
const BODIES: readonly Body[] = [
  WELCOME,
  { $case: 'update', value: UPDATE },
  assignments({ specs: [SPEC], tasks: [TASK], networks: [NETWORK] }),
  assignments({
    complete: false,
    specs: [SPEC],
    tasks: [{ ...TASK, taskId: 't2', desiredState: 'shutdown' }],
    removedTaskIds: ['t1'],
  }),
  assignments({ complete: false, contents: [{ contentId: 'c1', sealed: Buffer.alloc(80, 7), isTemplate: true }] }),
  { $case: 'statusAck', value: { sequence: 1 } },
  {
    $case: 'endpoints',
    value: {
      networkId: 'net',
      version: 1,
      complete: true,
      endpoints: [
        {
          taskId: 't1',
          serviceId: 's1',
          nodeId: NODE,
          address: '10.0.0.3',
          ipv6Address: 'fd00::3',
          taskName: 'web.1.t1',
          aliases: ['x'],
          live: true,
        },
      ],
      removedTaskIds: [],
      services: [{ serviceId: 's1', name: 'web', vip: '10.0.0.2', ipv6Vip: '', aliases: [] }],
      removedServiceIds: [],
    },
  },
  {
    $case: 'nodes',
    value: {
      complete: true,
      nodes: [{ nodeId: 'n2', addr: '10.0.0.2', gatewaySubnet: '10.224.4.0/24', wireguardKey: '' }],
      removedNodeIds: [],
    },
  },
  {
    $case: 'publishedPorts',
    value: {
      complete: true,
      ports: [{ protocol: 'tcp', publishedPort: 8080, targetPort: 80, serviceId: 's1', backends: [], hostAddress: '' }],
      removed: [{ protocol: 'udp', publishedPort: 53 }],
    },
  },
  {
    $case: 'logQuery',
    value: {
      queryId: 'q1',
      taskIds: ['t1'],
      options: { follow: false, stdout: true, stderr: true, since: '', tail: -1, details: false },
      after: [{ taskId: 't1', timestamp: '2026-01-01T00:00:00.000000000Z' }],
      isOpen: false,
      kept: undefined,
    },
  },
  { $case: 'logCancel', value: { queryId: 'q1' } },
];
const { responseSerialize, responseDeserialize, requestSerialize } = DispatcherService.session;
const SAMPLES = BODIES.map((body) => responseSerialize({ body }));
const WELCOMES = responseSerialize({ body: WELCOME });

/** An engine whose containers are names: what is asked of it has to make sense. */
function hollowEngine(): Engine {
  const containers = new Map<string, EngineContainer>();
  const seen = (id: string) => containers.get(id);
  return {
    containerRoot: { uid: 0, gid: 0 },
    ping: async () => {},
    describe: async () => DESCRIPTION,
    adopt: async () => [...containers.values()],
    inspect: async (id) => seen(id),
    pull: async () => {},
    create: async ({ name, taskId, body }) => {
      invariant(typeof body['Image'] === 'string' && name.endsWith(taskId), `a container as ${JSON.stringify(body)}`);
      const id = `of-${taskId}`;
      const origin = { taskName: name, serviceId: '', serviceName: '' };
      const rest = { pid: 0, exitCode: 0, oomKilled: false, error: '', ports: [] };
      containers.set(id, { id, taskId, nodeId: NODE, origin, state: 'created', ...rest });
      return id;
    },
    start: async (id) => {
      const container = seen(id);
      if (container !== undefined) container.state = 'running';
    },
    stop: async (id) => {
      const container = seen(id);
      if (container !== undefined) container.state = 'exited';
    },
    remove: async (id) => void containers.delete(id),
    watch: async () => ({ close: () => {} }),
    async *logs() {},
  };
}

async function open(): Promise<OpenTarget> {
  const clock = new VirtualClock(1_700_000_000_000);
  let session: { handlers: SessionWireHandlers; isOver: boolean } | undefined;
  const network = new HollowNetwork(clock);
  const agent = startAgent({
    identity: () => ({
      nodeId: NODE,
      clusterId: 'c',
      role: 'worker',
      certificateChainPem: '',
      keyPem: '',
      rootPem: '',
    }),
    managers: () => ['m1:2377'],
    advertiseAddr: '10.0.0.9',
    engine: hollowEngine(),
    network: () => network,
    clock,
    rng: new SeededRng(1),
    logger: pino({ level: 'silent' }),
    dial: (_manager, handlers) => {
      const opened = { handlers, isOver: false };
      session = opened;
      return {
        // What is said goes over a wire: it has to be a message.
        write: (message: AgentMessage) => void requestSerialize(message),
        end: () => {},
        isConnected: () => true,
        close: () => {
          opened.isOver = true;
        },
      };
    },
  });
  const settled = async () => {
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  };
  const begun = async () => {
    for (let tries = 0; tries < 100; tries++) {
      if (session !== undefined && !session.isOver) return session;
      clock.advance(1_000);
      await settled();
    }
    throw new Error('the agent looks for no manager any more');
  };
  const hear = async (all: readonly Uint8Array[]): Promise<Verdict> => {
    const current = await begun();
    let refused = 0;
    for (const bytes of all) {
      let message: ManagerMessage;
      try {
        message = responseDeserialize(Buffer.from(bytes));
      } catch {
        refused++;
        continue;
      }
      current.handlers.message(message);
      await settled();
    }
    // What it was told may be for later.
    clock.advance(500);
    await settled();
    const verdict = current.isOver || refused === all.length ? 'refused' : 'taken';
    // The next is told by another session: what one manager says is over with its own.
    if (!current.isOver) current.handlers.ended();
    return verdict;
  };
  const property = fc
    .array(damaged(...SAMPLES), { minLength: 1, maxLength: 4 })
    .map((all) => () => hear([WELCOMES, ...all]));
  return { property, close: () => agent.stop() };
}

export const AGENT_TARGET: Target = { name: "agents' sessions", share: 40, open };
