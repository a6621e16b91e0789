import t from 'tap';
import { description, node, service, task, viewOf } from './engine-api.fixture.js';
import {
  filterNetworks,
  filterNodes,
  filterServices,
  filterTasks,
  findNode,
  findService,
  findTask,
  managersOf,
  NETWORK_FILTERS,
  NODE_FILTERS,
  nodeCounts,
  parseFilters,
  SERVICE_FILTERS,
  TASK_FILTERS,
} from './index.js';

const web = service('s1', { Name: 'web', Labels: { tier: 'front', on: '' }, TaskTemplate: {} });
const webdb = service('s2', { Name: 'webdb', TaskTemplate: {}, Mode: { Global: {} } });
const view = viewOf({
  services: [web, webdb],
  nodes: [
    node('n1', { spec: { Labels: { zone: 'a' }, Role: 'manager' }, managerAddr: '10.0.0.1:2377' }),
    node('n2', {
      role: 'manager',
      managerAddr: '10.0.0.2:2377',
      description: { ...description, Hostname: 'h2', Engine: { EngineVersion: '', Plugins: [] } },
    }),
  ],
  tasks: [
    task('t1'),
    task('t2', { slot: 2, nodeId: 'n2', desiredState: 'shutdown' }),
    task('t3', { serviceId: 's2', slot: 0, specVersion: 0 }),
    task('t4', { slot: 3, nodeId: undefined, specVersion: 0 }),
  ],
});
const ids = (records: { id: string }[]) => records.map(({ id }) => id).join(' ');

t.test('filters of services: beginnings of names and ids, all labels, the mode', async (t) => {
  const list = (filters: object) => ids(filterServices(view, parseFilters(JSON.stringify(filters), SERVICE_FILTERS)));
  t.equal(ids(filterServices(view, parseFilters(undefined, SERVICE_FILTERS))), 's1 s2');
  t.equal(list({ name: ['web'] }), 's1 s2');
  t.equal(list({ name: { webd: true, gone: true } }), 's2');
  t.equal(
    list({ label: { nosuch: false } }),
    '',
    'a value counts whether true or false stands beside it, as in Docker',
  );
  for (const name of ['web', 5, [1], { web: 'yes' }]) {
    t.throws(() => list({ name }), { message: 'invalid filters: name: expected a list of strings' });
  }
  t.equal(list({ id: ['s1'] }), 's1');
  t.equal(list({ label: ['tier'] }), 's1');
  t.equal(list({ label: ['tier=front', 'on'] }), 's1');
  t.equal(list({ label: ['tier=back'] }), '');
  t.equal(list({ label: ['toString'] }), '', 'what every object inherits is no label');
  t.equal(list({ mode: ['global'] }), 's2');
  t.equal(list({ mode: ['replicated', 'global'] }), 's1 s2');
  t.equal(list({ mode: ['Replicated'] }), '', 'of a mode Docker wants the very word');
  t.equal(list({ runtime: ['plugin'] }), '');
});

t.test('filters of tasks name services and nodes as a user would', async (t) => {
  const list = (filters: object, self?: string) =>
    ids(filterTasks(view, parseFilters(JSON.stringify(filters), TASK_FILTERS), self));
  t.equal(list({}), 't1 t2 t3 t4');
  t.equal(list({ service: ['web'] }), 't1 t2 t4');
  t.equal(list({ service: ['s2'], node: ['h1'] }), 't3');
  t.equal(list({ node: ['self'] }, 'n2'), 't2');
  t.equal(list({ service: ['web', 's1'] }), 't1 t2 t4', 'a service named twice is listed once');
  t.equal(list({ 'desired-state': ['Running'] }), 't1 t3 t4');
  t.equal(list({ 'desired-state': [''] }), 't1 t2 t3 t4');
  t.equal(list({ '_up-to-date': ['true'] }), 't1 t2');
  t.equal(list({ name: ['web.2'] }), 't2');
  t.equal(list({ name: ['webdb.n1.t3'] }), 't3');
  t.equal(list({ label: ['tier=front'] }), 't1 t2 t4');
  t.throws(() => list({ service: ['nosuch'] }), { code: 'not-found', message: 'service nosuch not found' });
  t.throws(() => list({ node: ['nosuch'] }), { code: 'not-found', message: 'node nosuch not found' });
  t.throws(() => list({ 'desired-state': ['weird'] }), { message: "Invalid desired-state filter: 'weird'" });
});

t.test('filters of nodes tell labels of the engine from those of the node', async (t) => {
  const list = (filters: object) => ids(filterNodes(view, parseFilters(JSON.stringify(filters), NODE_FILTERS)));
  t.equal(list({ name: ['h'] }), 'n1 n2');
  t.equal(list({ role: ['manager'] }), 'n2');
  t.equal(list({ role: ['worker'] }), 'n1', 'what it is counts, not what it is wanted as');
  t.equal(list({ label: ['disk=ssd'] }), 'n1');
  t.equal(list({ 'node.label': ['zone=a'] }), 'n1');
  t.equal(list({ membership: ['accepted'] }), 'n1 n2');
  t.equal(list({ membership: ['pending'] }), '');
  t.equal(list({ role: [''], membership: [''] }), 'n1 n2', 'an empty word is none');
  t.equal(list({ role: ['', 'Manager'] }), 'n2');
  t.throws(() => list({ role: ['king'] }), { code: 'invalid-argument', message: "Invalid role filter: 'king'" });
});

t.test('a filter that is not known, or not of the form, is refused', async (t) => {
  const parse = (json: string) => parseFilters(json, SERVICE_FILTERS);
  t.throws(() => parse('{"bogus":["x"]}'), { code: 'invalid-argument', message: "Invalid filter 'bogus'" });
  for (const json of ['bad', '[1]', '3', 'null', '{"name":[1]}'])
    t.throws(() => parse(json), { code: 'invalid-argument' });
});

t.test('filters of networks are of few words', async (t) => {
  const list = (filters: object) => filterNetworks(view, parseFilters(JSON.stringify(filters), NETWORK_FILTERS));
  t.throws(() => list({ dangling: ['maybe'] }), { message: /^invalid value for filter 'dangling', must be "true"/ });
  t.throws(() => list({ type: ['own'] }), { message: "invalid filter: 'type'='own'" });
  t.same(list({ dangling: ['1'], type: ['custom'] }), []);
});

t.test('a reference is an id, else a name, else the beginning of one id', async (t) => {
  const named = service('web', { Name: 's1', TaskTemplate: {} });
  t.equal(findService(viewOf({ services: [web, named] }), 's1').id, 's1', 'the id wins over the name');
  t.equal(findService(view, 'webdb').id, 's2');
  t.throws(() => findService(view, 's'), {
    code: 'invalid-argument',
    message: 'service s is ambiguous (2 matches found)',
  });
  t.throws(() => findService(view, ''), { code: 'not-found' });
  t.equal(findNode(view, 'h2').id, 'n2');
  t.equal(findNode(view, 'self', 'n1').id, 'n1');
  t.throws(() => findNode(view, 'self'), { code: 'not-found' });
  t.equal(findTask(view, 'web.2.t2').id, 't2');
  t.throws(() => findTask(view, 'x'), { code: 'not-found', message: 'task x not found' });
});

t.test('only members of the log are counted and told as managers', async (t) => {
  t.strictSame(nodeCounts(view), { Nodes: 2, Managers: 1 });
  t.strictSame(managersOf(view), [{ nodeId: 'n2', addr: '10.0.0.2:2377' }]);
});
