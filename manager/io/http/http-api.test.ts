import { registryAuthHeader } from '@apiary/api/client';
import type { Config, Secret } from '@apiary/api/model';
import type { LogRequest } from '@apiary/api/rpc';
import { ApiaryError } from '@apiary/std';
import t from 'tap';
import { description, NO_SWARM, raw, refusal, running, SELF, serve, spec, task } from './http-api.fixture.js';

t.test('version and info answer without an engine, and say that it is gone', async (t) => {
  const { client, socketPath } = await serve(t, { manager: true });
  const version = await client.version();
  t.match(version, { Version: '0.1.0', ApiVersion: '1.41', Components: [{ Name: 'Apiary' }] });
  const info = await client.info();
  t.match(info.Warnings, [/engine does not answer/]);
  t.match(info.Swarm, {
    NodeID: SELF,
    LocalNodeState: 'active',
    ControlAvailable: true,
    RemoteManagers: [{ NodeID: SELF, Addr: '10.0.0.1:2377' }],
    Nodes: 1,
    Managers: 1,
    Cluster: { Spec: { Name: 'default' } },
  });
  const containers = await raw(socketPath, 'GET', '/v1.41/containers/json');
  t.equal(containers.status, 503);
  t.match(JSON.parse(containers.text).message, /^the container engine at unix:\/\/.*no-engine\.sock does not answer/);
});

t.test("a node in no cluster refuses what is the cluster's", async (t) => {
  const { client, socketPath } = await serve(t, { manager: false });
  for (const path of [
    '/services',
    '/services/x',
    '/tasks',
    '/nodes',
    '/swarm',
    '/secrets',
    '/configs/x',
    '/swarm/unlockkey',
  ]) {
    const { status, text, headers } = await raw(socketPath, 'GET', `/v1.41${path}`);
    t.equal(status, 503, path);
    t.same(JSON.parse(text), { message: NO_SWARM });
    t.equal(headers['content-type'], 'application/json', 'the stock command line reads words from exactly this type');
  }
  t.match((await client.ping())['swarm'], 'inactive');
  t.strictSame((await client.info()).Swarm, {
    NodeID: '',
    NodeAddr: '',
    LocalNodeState: 'inactive',
    ControlAvailable: false,
    Error: '',
    RemoteManagers: null,
  });
  await t.rejects(client.createService(spec('web')), { code: 'not-manager', status: 503 });
});

t.test('init, join and leave reach the node; what makes no sense is refused', async (t) => {
  const { client, calls } = await serve(t, { manager: false });
  t.equal(await client.swarmInit({ AdvertiseAddr: '10.0.0.1', SubnetSize: 24 }), 'new-node');
  await client.swarmJoin({ RemoteAddrs: ['10.0.0.1:2377'] });
  t.same(await client.swarmLeave(true), { Warnings: ['the others count on it'] });
  t.same(calls, ['init 10.0.0.1', 'join 10.0.0.1:2377', 'leave']);
  t.equal(await refusal(client.swarmLeave()), '503 failed-precondition: You are attempting to leave');
  t.match(
    await refusal(client.request('POST', '/swarm/join', { body: { JoinToken: 5 } })),
    /^400 .*: JoinToken: expected string/,
  );
});

t.test('the key of the log is changed by one word', async (t) => {
  const { client } = await serve(t, { manager: true });
  t.same(await client.rotateLogKey(), { KeyId: 'k2' });
});

t.test('a service is created, listed, changed, rolled back and removed', async (t) => {
  const { client, change } = await serve(t, { manager: true });
  const { ID } = await client.createService(spec('web', { Labels: { tier: 'front' } }));
  await client.createService(spec('db', { Mode: { Global: {} } }));
  t.match(await client.service('web'), {
    ID,
    Spec: { Name: 'web', TaskTemplate: { Runtime: 'container' } },
    Endpoint: { Spec: {} },
  });
  t.equal((await client.service(ID.slice(0, 8), { insertDefaults: true })).Spec.UpdateConfig?.Parallelism, 1);
  t.same(
    (await client.services({ label: ['tier=front'] })).map((service) => service.Spec.Name),
    ['web'],
  );
  await change(task('t1', ID));
  const [listed] = await client.services({ name: ['we'] }, { status: true });
  t.strictSame(listed?.ServiceStatus, { RunningTasks: 1, DesiredTasks: 0, CompletedTasks: 0 });
  t.equal(listed?.CreatedAt, '2023-11-14T22:13:20Z');

  const { Version } = await client.service('web');
  await client.updateService('web', Version.Index, spec('web', { Labels: { tier: 'back' } }));
  t.equal(
    await refusal(client.updateService('web', Version.Index, spec('web'))),
    '500 out-of-sequence: rpc error: code = Unknown desc = update out of sequence',
  );
  const changed = await client.service('web');
  t.same([changed.Spec.Labels, changed.PreviousSpec?.Labels], [{ tier: 'back' }, { tier: 'front' }]);
  await client.updateService('web', changed.Version.Index, spec('web'), { rollback: true });
  t.same((await client.service('web')).Spec.Labels, { tier: 'front' });

  t.match(await client.task('t1'), { ID: 't1', ServiceID: ID, Slot: 1, Status: { State: 'running' } });
  t.same(
    (await client.tasks({ service: ['web'], node: ['self'] })).map((found) => found.ID),
    ['t1'],
  );
  await client.removeService('web');
  t.equal(await refusal(client.service('web')), '404 not-found: service web not found');
});

t.test("faults of a service get the words and statuses that Docker's clients know", async (t) => {
  const { client, socketPath } = await serve(t, { manager: true });
  const create = (given: unknown) => refusal(client.request('POST', '/services/create', { body: given }));
  await client.createService(spec('a'));
  t.equal(
    await create(spec('a')),
    '409 already-exists: rpc error: code = AlreadyExists desc = name conflicts with an existing object: service a already exists',
  );
  t.equal(
    await create(spec('x y')),
    '400 invalid-argument: rpc error: code = InvalidArgument desc = name must be valid as a DNS name component',
  );
  t.equal(await create({ Name: 'x' }), '400 invalid-argument: mismatched Runtime and *Spec fields');
  t.equal(
    await create(spec('b', { UpdateConfig: { FailureAction: 'shrug' } })),
    '400 invalid-argument: unrecognized update failure action shrug',
  );
  const placement = { ContainerSpec: { Image: 'busybox:test' }, Placement: { Constraints: ['node.role'] } };
  t.equal(
    await create(spec('c', { TaskTemplate: placement })),
    '500 invalid-argument: rpc error: code = Unknown desc = constraint expected one operator from ==, !=',
  );
  t.match(
    await create({ Name: 'd', TaskTemplate: { ContainerSpec: { Image: 5 } } }),
    /^400 invalid-argument: invalid service spec: TaskTemplate\.ContainerSpec\.Image: expected string, got 5$/,
  );
  t.match(
    await create({ ...spec('e'), Mode: { Replicated: { Replicas: -1 } } }),
    /^400 .*Mode\.Replicated\.Replicas: expected >=0/,
  );
  t.match(await create({ ...spec('f'), Bogus: 1 }), /^400 .*: Bogus: unknown key$/);
  t.match(await create({ ...spec('f'), Labels: ['a'] }), /^400 .*: Labels: expected Object, got Array$/);
  t.match(await create([]), /^400 .*: body: expected Object, got Array$/);
  t.match(await create({ ...spec('f'), Labels: { constructor: 'a' } }), /^400 .*: Labels.constructor: no such key/);

  const post = async (path: string, body?: string) => {
    const { status, text } = await raw(socketPath, 'POST', path, body);
    return `${status} ${JSON.parse(text).message}`;
  };
  t.equal(await post('/services/create', ''), '400 got EOF while reading request body');
  t.match(await post('/services/create', '{'), /^400 invalid JSON in the request's body: /);
  t.equal(
    await post('/services/create', `${'{"Labels":'.repeat(10_000)}1${'}'.repeat(10_000)}`),
    '400 invalid service spec: Labels.Labels.Labels: nested more than 100 levels deep',
  );
  t.equal(
    await post('/services/create', '['.repeat(4 * 1024 * 1024)),
    "400 the request's body is nested more than 10000 levels deep",
  );
  const bad = await raw(socketPath, 'GET', '/services/%zz');
  t.same([bad.status, Object.keys(JSON.parse(bad.text))], [400, ['message']]);
  const long = await raw(socketPath, 'GET', `/services/${'x'.repeat(1_000)}`);
  t.equal(JSON.parse(long.text).message, `service ${'x'.repeat(1_000)} not found`);
  t.equal(
    await post('/services/create', `"${'x'.repeat(5_000_000)}"`),
    "413 the request's body of 5000002 bytes is too large: at most 4194304 bytes are taken",
  );
  t.match(await post('/services/a/update', '{}'), /^400 invalid service version ''/);
  t.match(await post('/services/a/update?version=abc', '{}'), /^400 invalid service version 'abc'/);
  t.match(await post('/services/a/update?version=1&rollback=x', '{}'), /^400 unrecognized rollback option x/);
  t.match(
    await refusal(client.request('GET', '/services?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D')),
    /^400 .*Invalid filter 'bogus'$/,
  );
  t.match(await refusal(client.request('GET', '/services?status=weird')), /^400 .*invalid value for status: weird/);
  const { Version } = await client.service('a');
  t.equal(
    await refusal(client.updateService('a', Version.Index, spec('b'))),
    '501 unimplemented: rpc error: code = Unimplemented desc = renaming services is not supported',
  );
});

t.test('a network shows who is on it, and how much of it is in use', async (t) => {
  const { client, change } = await serve(t, { manager: true });
  const { Id } = await client.createNetwork({ Name: 'net', Driver: 'overlay' });
  const TaskTemplate = { ContainerSpec: { Image: 'busybox:test' }, Networks: [{ Target: 'net' }] };
  const { ID } = await client.createService(spec('web', { TaskTemplate }));
  const status = { ...running, container: { id: 'c1', pid: 1, exitCode: 0 } };
  const made = task('t1', ID);
  if (made.type !== 'task-create') throw new Error('a task is made');
  const endpoint = { vips: [{ networkId: Id, address: '10.0.16.2' }], ports: [] };
  const networks = [{ networkId: Id, address: '10.0.17.9' }];
  await change({ type: 'service-endpoint', id: ID, endpoint }, { ...made, task: { ...made.task, status, networks } });
  t.match((await client.service('web')).Endpoint, { VirtualIPs: [{ NetworkID: Id, Addr: '10.0.16.2/20' }] });
  t.match((await client.task('t1')).NetworksAttachments, [{ Network: { ID: Id }, Addresses: ['10.0.17.9/20'] }]);
  t.match(await client.network('net', { verbose: true }), {
    IPAM: { Config: [{ Subnet: '10.0.16.0/23' }] },
    Containers: { c1: { Name: 'web.1.t1', IPv4Address: '10.0.17.9/20', MacAddress: /^02:61:0a:00:11:09$/ } },
    Peers: [{ IP: '10.0.0.1' }],
    Services: { web: { VIP: '10.0.16.2', Tasks: [{ Name: 'web.1.t1', EndpointIP: '10.0.17.9' }] } },
  });
  t.equal((await client.network('net')).Services, undefined);
  t.same(await client.networkUsage('net'), [{ Subnet: '10.0.16.0/20', IPsInUse: 2, DynamicIPsAvailable: 4091 }]);
  t.match(await refusal(client.removeNetwork('net')), /^400 .*network \w+ is in use by service \w+$/);
  await client.removeService('web');
  // A removal waits a while for tasks that are leaving.
  const removal = client.removeNetwork('net');
  await change({ type: 'task-delete', id: 't1' });
  await removal;
  t.match(await refusal(client.network('net', { scope: 'swarm' })), /^404 /);
});

t.test('networks are made, found, listed, removed and pruned, as Docker has them', async (t) => {
  const { client } = await serve(t, { manager: true });
  const ids = new Map<string, string>();
  for (const Name of ['a', 'b', 'c']) {
    const { Id, Warning } = await client.createNetwork({ Name, Driver: 'overlay', Labels: { of: Name } });
    t.equal(Warning, '');
    ids.set(Name, Id);
  }
  const [a = '', b = ''] = [ids.get('a'), ids.get('b')];
  for (const reference of [a, 'a', a.slice(0, 9)]) t.equal((await client.network(reference)).Id, a);
  t.match(await client.network('a'), {
    Name: 'a',
    Scope: 'swarm',
    Driver: 'overlay',
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.0.16.0/24', Gateway: '10.0.16.1' }] },
    Labels: { of: 'a' },
    Options: { 'com.docker.network.driver.overlay.vxlanid_list': /^\d+$/ },
  });
  const names = async (filters?: Record<string, string[]>) =>
    (await client.networks(filters)).map(({ Name }) => Name).sort();
  t.same(await names(), ['a', 'b', 'c', 'ingress'], 'what stands for the networks of the engines is not listed');
  t.same(await names({ label: ['of=b'] }), ['b']);
  t.same(await names({ id: [b.slice(0, 12)] }), ['b']);
  t.same(await names({ driver: ['bridge'] }), []);
  t.same(await names({ scope: ['swarm'], name: ['ing'] }), ['ingress']);
  t.match(await refusal(client.networks({ foo: ['bar'] })), "400 invalid-argument: Invalid filter 'foo'");
  t.match(await client.network('host', { scope: 'swarm' }), { Name: 'host', Driver: 'host' });
  t.equal(await refusal(client.network('nosuch', { scope: 'swarm' })), '404 not-found: network nosuch not found');
  t.equal(
    await refusal(client.createNetwork({ Name: 'a', Driver: 'overlay' })),
    '409 already-exists: network with name a already exists',
  );
  t.match(await refusal(client.createNetwork({ Name: 'd', Driver: 'overlay', Scope: 'local' })), /^403 .*: cannot/);
  t.equal(
    await refusal(client.createNetwork({ Name: 'bad name', Driver: 'overlay' })),
    '400 invalid-argument: rpc error: code = InvalidArgument desc = name must be valid as a DNS name component',
  );
  t.match(
    await refusal(client.request('POST', '/networks/a/connect', { body: { Container: 'x' } })),
    /^403 .*network a not manually attachable/,
  );
  await client.removeNetwork('a');
  t.same(await client.pruneNetworks({ until: ['1h30.5m'] }), { NetworksDeleted: null }, 'none is so old');
  t.match(await refusal(client.pruneNetworks({ until: ['soon'] })), /^400 .*until=soon: expected a time/);
  t.same(
    await client.pruneNetworks({ 'label!': ['of=c'], until: ['0s'] }),
    { NetworksDeleted: null },
    'nor older than now',
  );
  t.same(await client.pruneNetworks({ 'label!': ['of=c'] }), { NetworksDeleted: ['b'] });
  t.same(await names(), ['c', 'ingress']);

  const { client: outsider } = await serve(t, { manager: false });
  t.equal(await refusal(outsider.createNetwork({ Name: 'n', Driver: 'overlay' })), `503 not-manager: ${NO_SWARM}`);
});

t.test('credentials for a registry are kept with the spec that they came with, and told nobody', async (t) => {
  const { client, replica } = await serve(t, { manager: true });
  const auth = (password: string) => registryAuthHeader({ username: 'u', password, serveraddress: 'r:5000' });
  const { ID } = await client.createService(spec('a'), { registryAuth: auth('first') });
  const kept = () => replica.view.spec(ID, replica.view.service(ID)?.specVersion ?? 0).registryAuth;
  const put = async (image: string, options: Parameters<typeof client.updateService>[3]) => {
    const { Version, Spec } = await client.service(ID);
    const TaskTemplate = { ...Spec.TaskTemplate, ContainerSpec: { Image: image } };
    return client.updateService(ID, Version.Index, { ...Spec, TaskTemplate }, options);
  };
  await put('b', { registryAuthFrom: 'spec' });
  t.equal(kept(), auth('first'), 'a new image is pulled with what the one before was');
  await put('b', { registryAuth: auth('second') });
  await put('c', {});
  await put('d', { registryAuth: 'e30=' });
  t.equal(kept(), undefined, 'who has logged out');
  await put('e', { registryAuthFrom: 'previous-spec' });
  t.equal(kept(), auth('second'));
  t.notMatch(JSON.stringify([await client.service(ID), replica.view.service(ID)]), /second|c2Vjb25k/);
  t.match(await put('f', { registryAuth: 'eyJ1Ijoi' }), { Warnings: [/X-Registry-Auth is not JSON in base64/] });
  t.equal(kept(), auth('second'));
  await put('f', { rollback: true });
  t.equal(kept(), auth('second'), 'what is gone back to has its own');
  const options = { query: { version: 1, registryAuthFrom: 'x' }, body: spec('a') };
  t.match(await refusal(client.request('POST', `/services/${ID}/update`, options)), /unsupported .* value x/);
});

t.test('logs are written in frames of docker, raw for a terminal, and what is missing at their end', async (t) => {
  const { client, socketPath, logs } = await serve(t, { manager: true });
  const asked: LogRequest[] = [];
  const line = {
    taskId: 't1',
    nodeId: 'n1',
    stream: 2,
    timestamp: '2026-01-01T00:00:00.000000001Z',
    data: Buffer.from('x\n'),
    taskName: '',
    serviceId: '',
    details: 'A=1,z=2',
  };
  logs.read = async function* (request) {
    asked.push(request);
    yield { queryId: '', lines: [line], problems: ['node n2 is not available'], isLast: true };
  };
  const { ID: id } = await client.createService(spec('a'));
  const frame = (stream: number, text: string) =>
    Buffer.concat([Buffer.from([stream, 0, 0, 0, 0, 0, 0, text.length]), Buffer.from(text)]).toString();
  const missing =
    'Error grabbing logs: rpc error: code = Unknown desc = warning: incomplete log stream. ' +
    'some logs could not be retrieved for the following reasons: node n2 is not available\n';
  const plain = await raw(socketPath, 'GET', '/v1.41/services/a/logs?stdout=1&tail=5&since=1.5');
  t.equal(plain.text, frame(2, 'x\n') + frame(3, missing));
  t.equal(plain.headers['content-type'], 'application/vnd.docker.multiplexed-stream');
  const options = { follow: false, stdout: true, stderr: false, since: '1.5', tail: 5, details: false };
  t.same(asked[0], { serviceId: id, taskId: '', options, after: [], kept: false });
  const detailed = await raw(socketPath, 'GET', '/services/a/logs?stderr=1&follow=1&timestamps=1&details=1');
  const details = `A=1,com.docker.swarm.node.id=n1,com.docker.swarm.service.id=${id},com.docker.swarm.task.id=t1,z=2`;
  t.equal(detailed.text, frame(2, `2026-01-01T00:00:00.000000001Z ${details} x\n`) + frame(3, missing));
  t.match(asked[1], { options: { follow: true, stdout: false, stderr: true, since: '', tail: -1 } });
  await client.createService({ ...spec('tty'), TaskTemplate: { ContainerSpec: { Image: 'i', TTY: true } } });
  t.equal((await raw(socketPath, 'GET', '/services/tty/logs?stdout=1')).text, `x\n${missing}`);
  logs.read = async function* () {
    yield await Promise.reject(new ApiaryError('unavailable', 'no leader'));
  };
  const failed = 'Error grabbing logs: rpc error: code = Unknown desc = no leader\n';
  t.equal((await raw(socketPath, 'GET', '/services/a/logs?stdout=1')).text, frame(3, failed));
  const refused = (query: string) => refusal(client.request('GET', `/services/a/logs?${query}`));
  t.equal(await refused(''), '400 invalid-argument: Bad parameters: you must choose at least one stream');
  t.match(await refused('stdout=1&tail=x'), /^500 .*tail value must be a positive integer or "all"$/);
  t.match(await refused('stdout=1&tail=-1'), /^500 .*negative tail values not supported$/);
  t.match(await refused('stdout=1&since=x'), /^500 .*could not parse since timestamp/);
  t.match(await refused('stdout=1&until=1'), /^400 .*leave it out$/);
  t.match(await refusal(client.request('GET', '/services/x/logs?stdout=1')), /^404 not-found: service x not found/);
  t.match(await refusal(client.request('GET', '/tasks/x/logs?stdout=1')), /^404 not-found: task x not found/);
});

t.test('nodes are listed and changed, by hostname or id', async (t) => {
  const { client, change } = await serve(t, { manager: true });
  const worker = { Labels: {}, Role: 'worker', Availability: 'active' } as const;
  const ready = { state: 'ready', message: '', addr: '10.0.0.2' } as const;
  const h2 = { ...description, Hostname: 'h2' };
  await change({
    type: 'node-create',
    node: { id: 'n2', spec: worker, role: 'worker', status: ready, description: h2 },
  });
  t.match(await client.node('h1'), {
    ID: SELF,
    ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '10.0.0.1:2377' },
    Description: { TLSInfo: { TrustRoot: /BEGIN CERTIFICATE/, CertIssuerSubject: /^MBMx/ } },
  });
  t.equal((await client.node('self')).ID, SELF);
  t.same(
    (await client.nodes({ role: ['worker'] })).map((node) => node.ID),
    ['n2'],
  );
  const { Version } = await client.node('h2');
  const body = { Role: 'WORKER', Availability: 'Active', Labels: { zone: 'a' } };
  await client.request('POST', `/nodes/h2/update?version=${Version.Index}`, { body });
  t.match((await client.node('h2')).Spec, worker, 'words are taken whatever their case');
  t.same(
    (await client.nodes({ 'node.label': ['zone=a'] })).map((node) => node.ID),
    ['n2'],
  );
  t.equal(
    await refusal(client.request('POST', '/nodes/n2/update?version=1', { body: { Role: 'king' } })),
    '400 invalid-argument: invalid Role: "king"',
  );
  t.equal(
    await refusal(client.updateNode('n2', 1, worker)),
    '500 out-of-sequence: rpc error: code = Unknown desc = update out of sequence',
  );
  t.equal(
    await refusal(client.removeNode('n2')),
    "400 failed-precondition: rpc error: code = FailedPrecondition desc = node n2 is not down and can't be removed",
  );
  await client.removeNode('n2', true);
  t.equal(await refusal(client.removeNode('n2')), '404 not-found: node n2 not found');
});

t.test('the cluster is shown and changed; rotating a token changes that one', async (t) => {
  const { client } = await serve(t, { manager: true });
  const before = await client.swarmInspect();
  t.match(before.JoinTokens.Worker, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
  await client.swarmUpdate(
    before.Version.Index,
    { ...before.Spec, Dispatcher: { HeartbeatPeriod: 9e9 } },
    { rotateWorkerToken: true },
  );
  const after = await client.swarmInspect();
  t.equal(after.Spec.Dispatcher?.HeartbeatPeriod, 9e9);
  t.not(after.JoinTokens.Worker, before.JoinTokens.Worker);
  t.equal(after.JoinTokens.Manager, before.JoinTokens.Manager);
  t.match(await refusal(client.swarmUpdate(1, { Name: 'x' })), /^400 invalid-argument: swarm spec must be named/);
  t.match(await refusal(client.swarmUpdate(1, before.Spec)), /^500 out-of-sequence: .* update out of sequence$/);
  t.same(await client.request('GET', '/swarm/unlockkey'), { UnlockKey: '' });
  t.match(
    await refusal(client.request('POST', '/swarm/unlock', { body: { UnlockKey: 'x' } })),
    /^409 .*swarm is not locked/,
  );
});

t.test('a secret is made, found, shown without its data, given another version and removed', async (t) => {
  const { client } = await serve(t, { manager: true });
  const call = <T>(method: string, path: string, body?: unknown) =>
    client.request<T>(method, path, body === undefined ? {} : { body });
  const words = 'the words of a secret';
  const Data = Buffer.from(words).toString('base64');
  for (const kind of ['secret', 'config']) {
    const made = await call<{ ID: string }>('POST', `/${kind}s/create`, { Name: 'key', Data, Labels: { a: '1' } });
    const shown = await call<Secret & Config>('GET', `/${kind}s/key`);
    t.match(shown, { ID: made.ID, Spec: { Name: 'key', Labels: { a: '1' } } });
    t.equal(shown.Spec.Data, kind === 'config' ? Data : undefined);
    const filters = encodeURIComponent(JSON.stringify({ name: ['KE'], label: ['a=1'] }));
    t.same(await call('GET', `/${kind}s?filters=${filters}`), [shown]);
    t.match(await refusal(call('GET', `/${kind}s?filters=${encodeURIComponent('{"bogus":["x"]}')}`)), /^400 /);
    t.equal(await refusal(call('GET', `/${kind}s/nosuch`)), `404 not-found: ${kind} nosuch not found`);
    t.match(await refusal(call('POST', `/${kind}s/create`, { Name: 'b', Data: 'Y?==' })), /^400 .*illegal base64 data/);
    t.match(await refusal(call('POST', `/${kind}s/key/update?version=x`, {})), / invalid (secret|config) version$/);
    t.match(
      await refusal(call('POST', `/${kind}s/create`, { Name: 'key', Data })),
      new RegExp(`^409 .*code = AlreadyExists desc = ${kind} key already exists`),
    );
    const other = await call<{ ID: string }>('POST', `/apiary/v1/${kind}s/key/versions`, { Data: 'YQ==' });
    t.not(other.ID, made.ID);
    t.equal((await call<Secret>('GET', `/${kind}s/key`)).ID, other.ID);
    t.match(await refusal(call('POST', `/apiary/v1/${kind}s/key/versions`, {})), /^400 .*Data/);
    const all = JSON.stringify([await call('GET', `/${kind}s`), await call('GET', `/${kind}s/${other.ID}`)]);
    t.equal(/"(hash|salt)"/i.test(all), false);
    await call('DELETE', `/${kind}s/${other.ID.slice(0, 12)}`);
    t.same(await call('GET', `/${kind}s`), []);
  }
});
