import { readFileSync } from 'node:fs';
import type { ServiceSpec, TaskStatus } from '@apiary/api/model';
import t from 'tap';
import type { NetworkRecord, NodeRecord, ServiceRecord, SpecVersion, TaskRecord } from '../store/records.js';
import { description, meta, node, STATUS, service, task, viewOf } from './engine-api.fixture.js';
import {
  clusterObject,
  nodeObject,
  serviceObject,
  serviceSpecObject,
  serviceStatus,
  swarmObject,
  taskObject,
  timestampOf,
  withDefaults,
} from './index.js';

/** What dockerd 20.10 (API 1.41) answers about services that were created with these specs. */
interface Recorded {
  name: string;
  asked: ServiceSpec;
  answered: ServiceSpec;
  withDefaults: ServiceSpec;
  endpointSpec: object;
  taskSpec?: object;
}
const recorded: Recorded[] = JSON.parse(
  readFileSync(new URL('../../../core/engine-api/docker-answers.json', import.meta.url), 'utf8'),
);

const times = { CreatedAt: '1970-01-01T00:00:01Z', UpdatedAt: '2023-11-14T22:13:20.12Z' };

/** As it goes over the wire; no client tells a null from an absent key. */
function wire(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (_key, item) => (item === null ? undefined : item));
}

t.test('specs are given back as Docker Swarm gives them back', async (t) => {
  t.ok(recorded.length > 10);
  for (const { name, asked, answered, withDefaults: defaults, endpointSpec, taskSpec } of recorded) {
    t.strictSame(wire(serviceSpecObject(asked)), wire(answered), name);
    t.strictSame(wire(withDefaults(serviceSpecObject(asked))), wire(defaults), `${name}, with defaults`);
    t.strictSame(
      wire(serviceObject(service('s1', asked), viewOf({})).Endpoint.Spec),
      wire(endpointSpec),
      `${name}, endpoint`,
    );
    const spec = { serviceId: 's1', version: 1, serviceName: 'p', serviceLabels: {}, template: asked.TaskTemplate };
    if (taskSpec !== undefined)
      t.strictSame(wire(taskObject(task('t1'), spec, viewOf({})).Spec), wire(taskSpec), `${name}, task`);
  }
});

t.test('giving a spec back changes nothing of one that was given back before', async (t) => {
  for (const { asked } of recorded) {
    const once = serviceSpecObject(asked);
    t.strictSame(wire(serviceSpecObject(once)), wire(once));
  }
});

t.test('times are what Go writes: no trailing zeros, no empty fraction', async (t) => {
  t.equal(timestampOf(0), '1970-01-01T00:00:00Z');
  t.equal(timestampOf(1_700_000_000_000), '2023-11-14T22:13:20Z');
  t.equal(timestampOf(1_700_000_000_100), '2023-11-14T22:13:20.1Z');
  t.equal(timestampOf(1_700_000_000_012), '2023-11-14T22:13:20.012Z');
});

t.test('a service carries what it was before and how its update goes', async (t) => {
  const old: ServiceSpec = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'a' } } };
  const record = service(
    's1',
    { ...old, Labels: { x: '1' } },
    {
      previous: { spec: old, specVersion: 1 },
      update: { state: 'completed', startedAtMs: 1_000, completedAtMs: 2_000, message: 'update completed' },
    },
  );
  const object = serviceObject(record, viewOf({}), { insertDefaults: true });
  t.strictSame(wire({ ...object, Spec: undefined, PreviousSpec: undefined }), {
    ID: 's1',
    Version: { Index: 7 },
    ...times,
    Endpoint: { Spec: {} },
    UpdateStatus: {
      State: 'completed',
      StartedAt: '1970-01-01T00:00:01Z',
      CompletedAt: '1970-01-01T00:00:02Z',
      Message: 'update completed',
    },
  });
  t.equal(object.Spec.TaskTemplate.ContainerSpec?.StopGracePeriod, 10e9);
  t.equal(object.PreviousSpec?.TaskTemplate.ContainerSpec?.StopGracePeriod, undefined);
  const bare = wire(serviceObject(service('s1', old), viewOf({})));
  t.notMatch(bare, { PreviousSpec: {} });
  t.notMatch(bare, { UpdateStatus: {} });
});

t.test('a service counts its tasks by its mode', async (t) => {
  const spec = (Mode: ServiceSpec['Mode']): ServiceRecord => service('s1', { Name: 'web', TaskTemplate: {}, Mode });
  const done = { ...STATUS, state: 'complete' as const };
  const tasks = [task('a'), task('b', { desiredState: 'shutdown' }), task('c', { status: done })];
  t.strictSame(serviceStatus(spec({ Replicated: { Replicas: 5 } }), tasks), {
    RunningTasks: 2,
    DesiredTasks: 5,
    CompletedTasks: 0,
  });
  t.strictSame(serviceStatus(spec({ Global: {} }), tasks), { RunningTasks: 2, DesiredTasks: 2, CompletedTasks: 0 });
  t.equal(serviceStatus(spec(undefined), []).DesiredTasks, 1);
});

t.test('a job counts the tasks of its run, and each slot once; its tasks are to be complete', async (t) => {
  const job = { iteration: 2, startedAtMs: 1_000 };
  const complete = { ...STATUS, state: 'complete' as const };
  const of = (id: string, part: Partial<TaskRecord>): TaskRecord => task(id, { jobIteration: 2, ...part });
  const tasks = [
    of('old', { jobIteration: 1, slot: 2, status: complete }),
    of('a', { slot: 0, status: complete }),
    of('b', { slot: 0, status: complete, desiredState: 'shutdown' }),
    of('c', { slot: 1 }),
  ];
  const spec = (Mode: ServiceSpec['Mode']): ServiceRecord => ({
    ...service('s1', { Name: 'web', TaskTemplate: {}, Mode }),
    job,
  });
  const replicated = spec({ ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 9 } });
  t.strictSame(serviceStatus(replicated, tasks), { RunningTasks: 1, DesiredTasks: 3, CompletedTasks: 1 });
  t.match(serviceObject(replicated, viewOf({})), {
    JobStatus: { JobIteration: { Index: 2 }, LastExecution: '1970-01-01T00:00:01Z' },
  });
  const nodes = tasks.map((each, i) => ({ ...each, slot: 0, nodeId: `n${i}` }));
  t.strictSame(serviceStatus(spec({ GlobalJob: {} }), nodes), {
    RunningTasks: 1,
    DesiredTasks: 1,
    CompletedTasks: 2,
  });
  const version = { serviceId: 's1', version: 1, serviceName: 'web', serviceLabels: {}, template: {} };
  t.match(taskObject(of('c', {}), version, viewOf({})), { DesiredState: 'complete', JobIteration: { Index: 2 } });
  t.match(taskObject(of('d', { desiredState: 'shutdown' }), version, viewOf({})), { DesiredState: 'shutdown' });
  t.strictSame(taskObject(of('e', { jobIteration: 0 }), version, viewOf({})).JobIteration, {});
});

t.test('a task says where it is, or leaves the key out', async (t) => {
  const spec = { serviceId: 's1', version: 1, serviceName: 'web', serviceLabels: {}, template: {} };
  const status: TaskStatus = {
    state: 'failed',
    atMs: 1_000,
    message: 'started',
    err: 'task: non-zero exit (3)',
    container: { id: 'c1', pid: 0, exitCode: 3 },
    ports: [{ protocol: 'tcp', targetPort: 80, publishedPort: 8080 }],
  };
  t.strictSame(wire(taskObject(task('t1', { status, desiredState: 'shutdown' }), spec, viewOf({}))), {
    ID: 't1',
    Version: { Index: 7 },
    ...times,
    Labels: {},
    Spec: { ForceUpdate: 0 },
    ServiceID: 's1',
    Slot: 1,
    NodeID: 'n1',
    Status: {
      Timestamp: '1970-01-01T00:00:01Z',
      State: 'failed',
      Message: 'started',
      Err: 'task: non-zero exit (3)',
      ContainerStatus: { ContainerID: 'c1', PID: 0, ExitCode: 3 },
      PortStatus: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] },
    },
    DesiredState: 'shutdown',
  });
  const pending: TaskStatus = { state: 'pending', atMs: 1_000, message: '' };
  const { Slot, NodeID, Status } = taskObject(
    task('t2', { slot: 0, nodeId: undefined, status: pending }),
    spec,
    viewOf({}),
  );
  t.strictSame(wire({ Slot, NodeID, Status }), {
    Status: { Timestamp: '1970-01-01T00:00:01Z', State: 'pending', PortStatus: {} },
  });

  const waiting: TaskStatus = { ...pending, err: 'no suitable node (insufficient resources on 1 node)' };
  const told = (reasons: string[], isVague: boolean) => {
    const { Err, Reasons } = taskObject(task('t2', { status: waiting }), spec, viewOf({}), { reasons, isVague }).Status;
    return { Err, Reasons };
  };
  const short = '1 node: insufficient memory (need 4 GiB, largest free 1.5 GiB on h2)';
  t.same(told([short], true), { Err: `no suitable node (${short})`, Reasons: [short] });
  t.same(told(['1 node: drained'], false), { Err: waiting.err, Reasons: ['1 node: drained'] });
});

t.test('a task whose ports are published shows the ingress network first, with where they lead to', async (t) => {
  const network = (id: string, kind: NetworkRecord['kind'], spec: NetworkRecord['spec']): NetworkRecord => {
    const subnets = kind === 'host' ? [] : [{ subnet: '10.0.16.0/24', gateway: '10.0.16.1' }];
    return { id, kind, spec, subnets, vni: 4097, meta: task('t').meta };
  };
  const networks = [
    network('i', 'ingress', { Name: 'ingress', Driver: 'overlay', Ingress: true, Labels: {} }),
    network('f', 'overlay', { Name: 'front', Driver: 'overlay' }),
    network('h', 'host', { Name: 'host', Driver: 'host' }),
  ];
  const view = {
    ...viewOf({}),
    networks: () => networks,
    network: (id: string) => networks.find((each) => each.id === id),
  };
  const of = (endpoint: SpecVersion['endpoint'], status: Partial<TaskStatus>, networkIds: string[]) => {
    const spec = { serviceId: 's1', version: 1, serviceName: 'web', serviceLabels: {}, template: {}, endpoint };
    const addresses = networkIds.map((networkId) => ({ networkId, address: networkId === 'h' ? '' : '10.0.16.9' }));
    const record = task('t1', { networks: addresses, status: { state: 'running', atMs: 1, message: '', ...status } });
    return taskObject(record, spec, view).NetworksAttachments;
  };
  const published = { Ports: [{ TargetPort: 80 }] };
  const ipam = { Driver: { Name: 'default' }, Configs: [{ Subnet: '10.0.16.0/24', Gateway: '10.0.16.1' }] };
  t.match(of(published, { gatewayAddress: '10.224.1.60' }, ['f']), [
    {
      Addresses: ['10.224.1.60/24'],
      Network: {
        ID: 'i',
        Spec: { Name: 'ingress', Ingress: true, DriverConfiguration: {}, IPAMOptions: { Driver: {} }, Scope: 'swarm' },
        IPAMOptions: ipam,
      },
    },
    { Addresses: ['10.0.16.9/24'], Network: { ID: 'f', IPAMOptions: ipam } },
  ]);
  t.match(of(published, {}, []), [{ Network: { ID: 'i' }, Addresses: undefined }], 'none until it has one');
  t.equal(of({ Ports: [{ TargetPort: 80, PublishMode: 'host' }] }, { gatewayAddress: '10.224.1.60' }, []), undefined);
  const labels = { 'com.docker.swarm.predefined': 'true' };
  const predefined = { Spec: { Name: 'host', Labels: labels, Scope: 'swarm' }, IPAMOptions: { Driver: {} } };
  t.match(of(undefined, {}, ['h']), [{ Network: predefined }]);
});

t.test('of privileges, what there is none of is null', async (t) => {
  const { TaskTemplate } = serviceSpecObject({ TaskTemplate: { ContainerSpec: { Privileges: {} } } });
  t.match(TaskTemplate.ContainerSpec?.Privileges, { CredentialSpec: null, SELinuxContext: null });
});

t.test('an endpoint says its mode from its first allocation on', async (t) => {
  const of = (Mode: string, endpoint?: ServiceRecord['endpoint']) => {
    const record = service('s1', { TaskTemplate: {}, EndpointSpec: { Mode } });
    return wire(serviceObject({ ...record, ...(endpoint && { endpoint }) }, viewOf({})).Endpoint);
  };
  t.same(of('dnsrr'), { Spec: {} });
  t.same(of('vip'), { Spec: {} });
  t.same(of('dnsrr', { vips: [], ports: [] }), { Spec: { Mode: 'dnsrr' } });
  t.same(of('vip', { vips: [], ports: [] }), { Spec: { Mode: 'vip' } });
});

const tlsInfo = { TrustRoot: 'pem', CertIssuerSubject: 's', CertIssuerPublicKey: 'k' };

t.test('a node shows its place among the managers only when it is one', async (t) => {
  const around = { leaderId: 'm1', tlsInfo };
  t.strictSame(wire(nodeObject(node('n1', { spec: { Name: '' } }), around)), {
    ID: 'n1',
    Version: { Index: 7 },
    ...times,
    Spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    Description: { ...description, TLSInfo: tlsInfo },
    Status: { State: 'ready', Addr: '10.0.0.1' },
  });
  const manager = { role: 'manager', managerAddr: '10.0.0.1:2377' } as const;
  t.strictSame(nodeObject(node('m1', manager), around).ManagerStatus, {
    Leader: true,
    Reachability: 'reachable',
    Addr: '10.0.0.1:2377',
  });
  const down: NodeRecord['status'] = { state: 'down', message: 'heartbeat failure', addr: '' };
  const lost = nodeObject(node('m2', { ...manager, status: down }), around);
  t.strictSame(
    lost.ManagerStatus,
    { Reachability: 'unknown', Addr: '10.0.0.1:2377' },
    'what its agent says is another thing',
  );
  for (const reachability of ['reachable', 'unreachable'] as const) {
    const { ManagerStatus } = nodeObject(node('m2', { ...manager, reachability }), around);
    t.strictSame(ManagerStatus, { Reachability: reachability, Addr: '10.0.0.1:2377' });
  }
  t.equal(lost.Status.Message, 'heartbeat failure');
  t.equal(nodeObject(node('n3', { description: undefined }), around).Description.Hostname, '');
});

t.test('a cluster shows the settings in force, and its tokens only to who asks for them', async (t) => {
  const record = {
    id: 'c1',
    meta,
    spec: { Dispatcher: { HeartbeatPeriod: 9e9 } },
    joinSecrets: { worker: 'w', manager: 'm' },
    rootCa: { certificatePem: 'pem', keyPem: 'key' },
  };
  const tokens = { Worker: 'SWMTKN-1-w', Manager: 'SWMTKN-1-m' };
  t.strictSame(wire(swarmObject(record, tlsInfo, tokens)), {
    ID: 'c1',
    Version: { Index: 7 },
    ...times,
    Spec: {
      Name: 'default',
      Labels: {},
      Orchestration: { TaskHistoryRetentionLimit: 5 },
      Raft: {
        SnapshotInterval: 10000,
        KeepOldSnapshots: 0,
        LogEntriesForSlowFollowers: 500,
        ElectionTick: 10,
        HeartbeatTick: 1,
      },
      Dispatcher: { HeartbeatPeriod: 9e9 },
      CAConfig: { NodeCertExpiry: 7776e12 },
      TaskDefaults: {},
      EncryptionConfig: { AutoLockManagers: false },
    },
    TLSInfo: tlsInfo,
    RootRotationInProgress: false,
    SubnetSize: 24,
    DataPathPort: 4789,
    JoinTokens: tokens,
  });
  t.notMatch(clusterObject(record, tlsInfo), { JoinTokens: {} });
  t.notMatch(JSON.stringify(swarmObject(record, tlsInfo, tokens)), /"key"/, 'the key of the root stays inside');
});
