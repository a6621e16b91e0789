import { formatJoinToken } from '@apiary/api/model';
import { ApiaryError, SeededRng } from '@apiary/std';
import t from 'tap';
import type { ClusterRecord, NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { type Caller, memberRefusalOf, refusalOf } from './access.js';
import { certificateValidityMs, enrol, renewal } from './enrol.js';

const ROOT_DIGEST = '1'.repeat(50);
const WORKER_SECRET = 'w'.repeat(25);
const MANAGER_SECRET = 'm'.repeat(25);

const cluster: ClusterRecord = {
  id: 'c1',
  meta: { version: 7, createdAtMs: 0, updatedAtMs: 0 },
  spec: {},
  joinSecrets: { worker: WORKER_SECRET, manager: MANAGER_SECRET },
  rootCa: { certificatePem: 'certificate', keyPem: 'key' },
};

function node(id: string, role: NodeRecord['role']): NodeRecord {
  const meta = { version: 1, createdAtMs: 0, updatedAtMs: 0 };
  return { id, meta, role, spec: { Role: role }, status: { state: 'ready', message: '', addr: '' } };
}

/** Of a view, what trust reads. */
function viewOf(nodes: NodeRecord[], of: ClusterRecord | undefined = cluster): View {
  const view: Pick<View, 'cluster' | 'node'> = {
    cluster: () => of,
    node: (id) => nodes.find((each) => each.id === id),
  };
  return view as View;
}

function tokenOf(secret: string, rootDigest = ROOT_DIGEST): string {
  return formatJoinToken({ rootDigest, secret });
}

function join(joinToken: string, availability = '', managerAddr = '') {
  return enrol(viewOf([]), { joinToken, rootDigest: ROOT_DIGEST, availability, managerAddr }, 0, new SeededRng(1));
}

function errorOf(act: () => unknown): { code?: string; message: string } {
  try {
    act();
  } catch (error) {
    if (error instanceof ApiaryError) return { code: error.code, message: error.message };
    throw error;
  }
  return { message: 'nothing was thrown' };
}

t.test('the worker token makes a worker, held to the cluster as it was', async (t) => {
  const { guards, changes, result } = join(tokenOf(WORKER_SECRET), 'drain');
  t.same(guards, [{ type: 'unchanged', kind: 'cluster', id: 'c1', version: 7 }]);
  t.match(changes, [
    {
      type: 'node-create',
      node: { id: result.nodeId, role: 'worker', spec: { Role: 'worker', Availability: 'drain', Labels: {} } },
    },
  ]);
  t.match(result, { role: 'worker', clusterId: 'c1', validityMs: 90 * 24 * 3600 * 1000 });
  t.match(result.nodeId, /^[0-9a-f][0-9a-z]{24}$/);
});

t.test('every wrong token is refused in words of its own', async (t) => {
  t.match(
    errorOf(() => join('SWMTKN-1-short')),
    { code: 'invalid-argument', message: /invalid join token: expected/ },
  );
  t.match(
    errorOf(() => join(tokenOf('x'.repeat(25)))),
    { code: 'unauthenticated', message: /secret is wrong or was rotated/ },
  );
  t.match(
    errorOf(() => join(tokenOf(WORKER_SECRET, '2'.repeat(50)))),
    {
      code: 'unauthenticated',
      message: /belongs to another cluster/,
    },
  );
  t.match(
    errorOf(() => join(tokenOf(MANAGER_SECRET))),
    { code: 'invalid-argument', message: /for managers.*--advertise-addr.*"swarmctl join-token worker"/ },
  );
  t.match(
    errorOf(() => join(tokenOf(MANAGER_SECRET), '', 'a b')),
    { code: 'invalid-argument', message: /invalid manager address "a b"/ },
  );
  t.match(
    errorOf(() => join(tokenOf(WORKER_SECRET), 'asleep')),
    { code: 'invalid-argument', message: /availability "asleep"/ },
  );
});

t.test(
  'the manager token makes a node that is a manager by its certificate, and not yet by its membership',
  async (t) => {
    const { changes, result } = join(tokenOf(MANAGER_SECRET), '', '10.0.0.2:2377');
    t.match(changes, [
      { type: 'node-create', node: { role: 'worker', spec: { Role: 'manager' }, managerAddr: '10.0.0.2:2377' } },
    ]);
    t.match(result, { role: 'manager', clusterId: 'c1' });
    const worker = join(tokenOf(WORKER_SECRET), '', '10.0.0.2:2377');
    t.notMatch(worker.changes, [{ node: { managerAddr: /./ } }], 'who joins does not know which token it has');
  },
);

t.test('a renewal keeps the id, and is for a manager while the node is wanted as one or is one', async (t) => {
  const caller = { nodeId: 'n1' };
  const roleOf = (role: NodeRecord['role'], wanted: NodeRecord['role']) =>
    renewal(viewOf([{ ...node('n1', role), spec: { Role: wanted } }]), caller).role;
  t.equal(roleOf('worker', 'worker'), 'worker');
  t.equal(roleOf('worker', 'manager'), 'manager');
  t.equal(roleOf('manager', 'worker'), 'manager');
  t.equal(roleOf('manager', 'manager'), 'manager');
  t.match(
    errorOf(() => renewal(viewOf([]), caller)),
    { code: 'not-found' },
  );
});

t.test('certificates last as long as the cluster says', async (t) => {
  t.equal(certificateValidityMs({ CAConfig: { NodeCertExpiry: 3600e9 } }), 3600e3);
  t.equal(certificateValidityMs({ CAConfig: { NodeCertExpiry: 0 } }), 90 * 24 * 3600 * 1000);
});

t.test('who may call follows from the certificate and from the record, the lesser of the two', async (t) => {
  const view = viewOf([
    node('w', 'worker'),
    node('m', 'manager'),
    node('demoted', 'worker'),
    node('promoted', 'manager'),
  ]);
  const caller = (nodeId: string, role: Caller['role'], more: Partial<Caller> = {}): Caller => ({
    nodeId,
    role,
    clusterId: 'c1',
    issuedMs: 0,
    validUntilMs: 1_000,
    ...more,
  });
  const codeOf = (who: Caller | undefined, access: 'anyone' | 'node' | 'manager', nowMs = 0) =>
    refusalOf(view, who, access, nowMs)?.code;
  t.equal(codeOf(undefined, 'anyone'), undefined);
  t.equal(codeOf(undefined, 'node'), 'unauthenticated');
  t.equal(codeOf(caller('w', 'worker'), 'node'), undefined);
  t.equal(codeOf(caller('w', 'worker'), 'manager'), 'permission-denied');
  t.equal(codeOf(caller('m', 'manager'), 'manager'), undefined);
  t.equal(codeOf(caller('demoted', 'manager'), 'manager'), 'permission-denied');
  t.equal(codeOf(caller('promoted', 'worker'), 'manager'), 'permission-denied');
  t.equal(codeOf(caller('removed', 'manager'), 'node'), 'not-found');
  t.equal(codeOf(caller('w', 'worker', { clusterId: 'c2' }), 'node'), 'unauthenticated');
  t.equal(codeOf(caller('w', 'worker'), 'node', 1_000), 'unauthenticated');
});

t.test('who may take part in the managers log follows from the certificate, and from who is excluded', async (t) => {
  const caller: Caller = { nodeId: 'm1', role: 'manager', clusterId: 'c1', issuedMs: 500, validUntilMs: 1_000 };
  const codeOf = (who: Caller | undefined, excluded?: Record<string, number>, nowMs = 600) =>
    memberRefusalOf(who, { clusterId: 'c1', excluded }, nowMs)?.code;
  t.equal(codeOf(caller), undefined);
  t.equal(codeOf(undefined), 'unauthenticated');
  t.equal(codeOf({ ...caller, clusterId: 'c2' }), 'unauthenticated');
  t.equal(codeOf(caller, {}, 1_000), 'unauthenticated');
  t.equal(codeOf({ ...caller, role: 'worker' }), 'permission-denied');
  t.equal(codeOf(caller, { m2: 900 }), undefined);
  t.equal(codeOf(caller, { m1: 500 }), 'permission-denied');
  t.equal(codeOf(caller, { m1: 499 }), undefined);
});
