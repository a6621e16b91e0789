import { VirtualClock } from '@apiary/std';
import t from 'tap';
import type { RootRotation } from '../../core/store/records.js';
import { ListReplica } from './list-replica.js';
import { MOST_RENEWALS, RENEWAL_PATIENCE_MS, RenewalTurns } from './renewal-turns.js';

const IDS = Array.from({ length: 3 * MOST_RENEWALS + 5 }, (_, i) => `n${String(i).padStart(3, '0')}`);
const rotationTo = (name: string): RootRotation => ({
  certificatePem: `${name} root\n`,
  keyPem: 'key',
  crossSignedPem: 'cross',
  issuer: { CertIssuerSubject: name, CertIssuerPublicKey: name },
});

/** A manager whose nodes all have sessions, and say what they are told to have when a test lets them. */
function setUp(nodeIds = IDS) {
  const clock = new VirtualClock();
  const replica = new ListReplica(clock);
  const status = { state: 'ready' as const, message: '', addr: '' };
  const rootCa = { certificatePem: 'old root\n', keyPem: 'k' };
  replica.apply([
    { type: 'cluster-create', cluster: { id: 'c1', spec: {}, joinSecrets: { worker: '', manager: '' }, rootCa } },
    ...nodeIds.map((id) => ({ type: 'node-create' as const, node: { id, role: 'worker' as const, spec: {}, status } })),
  ]);
  const lead = () => {
    const asking = new Set<string>();
    const renewing = new Set<string>();
    const turns = new RenewalTurns({ view: replica.view, clock, onTurn: (nodeId) => asking.add(nodeId) });
    const unsubscribe = replica.subscribe((touched) => turns.onTouched(touched));
    const ask = (nodeId: string) => {
      const { issuerPem } = turns.toldTo(nodeId);
      if (issuerPem === replica.view.cluster()?.rootRotation?.certificatePem) renewing.add(nodeId);
      return issuerPem;
    };
    /** Whoever was called asks. */
    const settle = () => {
      for (const nodeId of asking) {
        asking.delete(nodeId);
        ask(nodeId);
      }
    };
    const askAll = () => {
      for (const id of nodeIds) ask(id);
      settle();
    };
    const forget = (nodeId: string) => {
      renewing.delete(nodeId);
      turns.forget(nodeId);
      settle();
    };
    return { turns, ask, askAll, settle, renewing, forget, stop: unsubscribe };
  };
  const begin = (name: string) => replica.apply([{ type: 'root-rotation-start', rotation: rotationTo(name) }]);
  const report = (id: string, name: string) => {
    const { issuer, certificatePem } = rotationTo(name);
    const TLSInfo = { TrustRoot: `old root\n${certificatePem}`, ...issuer };
    const description = {
      Hostname: id,
      Platform: { Architecture: 'x', OS: 'linux' },
      Resources: { NanoCPUs: 1, MemoryBytes: 1 },
      Engine: { EngineVersion: '1', Plugins: [] },
      TLSInfo,
    };
    replica.apply([{ type: 'node-description', id, description }]);
  };
  return { replica, clock, lead, begin, report };
}

t.test('a few nodes renew at a time, and each that has done so makes room for the next', async (t) => {
  const { lead, begin, report } = setUp();
  const { ask, askAll, settle, renewing } = lead();
  t.equal(ask('n000'), 'old root\n', 'nothing is new yet');
  begin('new');
  askAll();
  const seen = new Set(renewing);
  while (renewing.size > 0) {
    t.ok(renewing.size <= MOST_RENEWALS);
    const [first = ''] = renewing;
    renewing.delete(first);
    report(first, 'new');
    settle();
    for (const id of renewing) seen.add(id);
  }
  t.same([...seen].sort(), IDS, 'all had their turn');
  t.equal(ask('n000'), 'new root\n', 'who has it is told so again');
});

t.test(
  'a node that cannot renew holds its place for ten seconds, and one that goes away does not hold it',
  async (t) => {
    const { clock, lead, begin } = setUp();
    const { askAll, settle, renewing, forget } = lead();
    begin('new');
    askAll();
    t.equal(renewing.size, MOST_RENEWALS);
    forget('n000');
    t.same([...renewing].at(-1), IDS[MOST_RENEWALS]);
    clock.advance(RENEWAL_PATIENCE_MS - 1);
    settle();
    t.equal(renewing.size, MOST_RENEWALS);
    clock.advance(1);
    settle();
    t.equal(renewing.size, 2 * MOST_RENEWALS, 'those before go on trying');
    for (let round = 0; round < 3; round++) {
      clock.advance(RENEWAL_PATIENCE_MS);
      settle();
    }
    t.equal(renewing.size, IDS.length - 1);
  },
);

t.test('nobody is forgotten when those who were called have no need of their turn, or are gone', async (t) => {
  const { lead, begin, report } = setUp();
  const { turns, ask, askAll, renewing } = lead();
  begin('new');
  askAll();
  const waiting = IDS.slice(MOST_RENEWALS);
  // All that wait but the last one renew by themselves, or go, before they ask.
  for (const [i, id] of waiting.slice(0, -1).entries()) {
    if (i % 2 === 0) report(id, 'new');
  }
  for (const id of IDS.slice(0, MOST_RENEWALS)) report(id, 'new');
  renewing.clear();
  for (const [i, id] of waiting.slice(0, -1).entries()) {
    if (i % 2 === 0) ask(id);
    else turns.forget(id);
  }
  ask(waiting.at(-1) ?? '');
  t.same(
    [...renewing].filter((id) => id === waiting.at(-1)),
    [waiting.at(-1)],
  );
});

t.test('the next leader goes on where the one before was, and another root begins anew', async (t) => {
  const { lead, begin, report } = setUp();
  const first = lead();
  begin('new');
  first.askAll();
  for (const id of IDS.slice(0, 10)) report(id, 'new');
  first.stop();
  const second = lead();
  second.askAll();
  t.same([...second.renewing].slice(0, 10), IDS.slice(0, 10), 'these have it, and take no place');
  t.equal(second.renewing.size, 10 + MOST_RENEWALS);
  begin('newer');
  second.renewing.clear();
  second.askAll();
  t.equal(second.renewing.size, MOST_RENEWALS);
});
