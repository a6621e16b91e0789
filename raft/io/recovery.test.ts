import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SeededRng, VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import type { Entry, Membership, MembershipEntry } from '../core/index.js';
import {
  forceNewCluster,
  MemberStorage,
  type MemberStorageOptions,
  noPeers,
  ReplicatedLog,
  seedLog,
  TERMS_LEFT_OUT,
} from './index.js';
import { Ledger } from './log-conformance.js';
import { SimulatedDisk } from './simulated-disk.js';

const identity = { clusterId: 'c1', memberId: 'm1' };
const three: Membership = { voters: ['m1', 'm2', 'm3'], learners: [] };
const alone: Membership = { voters: ['m1'], learners: [] };
const nothing = { snapshot: undefined, entries: [], hardState: undefined };
const told = Buffer.from('the others are workers now');

function folder(t: Test): string {
  const path = join(mkdtempSync(join(tmpdir(), 'apiary-recovery-')), 'raft');
  t.teardown(() => rmSync(join(path, '..'), { recursive: true, force: true }));
  return path;
}

const command = (index: number, term: number): Entry => ({
  type: 'command',
  index,
  term,
  data: Buffer.from(`entry ${index}`),
});

/** One of three members: entries 2 to 6, of which it knows that 4 are committed. */
async function oneOfThree(directory: string, options: Pick<MemberStorageOptions, 'files'> = {}): Promise<void> {
  const { storage } = await MemberStorage.open({ directory, identity, keys: {}, bootstrap: three, ...options });
  await storage.write({ ...nothing, entries: [2, 3, 4].map((index) => command(index, 3)) });
  await storage.write({
    ...nothing,
    entries: [command(5, 3), command(6, 5)],
    hardState: { term: 7, vote: 'm2', commit: 4 },
  });
  await storage.close();
}

/** The log as it starts, alone or not at all: it opens only when it can elect itself. */
async function started(directory: string): Promise<{ log: ReplicatedLog; ledger: Ledger }> {
  const ledger = new Ledger();
  const log = new ReplicatedLog({
    directory,
    identity,
    start: 'resume',
    transport: noPeers(),
    clock: new VirtualClock(),
    rng: new SeededRng(1),
    keys: {},
  });
  await log.open(ledger);
  return { log, ledger };
}

t.test('the last member goes on alone, with all that is durable, in a newer term', async (t) => {
  const directory = folder(t);
  await oneOfThree(directory);
  const seen: string[] = [];
  const index = await forceNewCluster({ directory, identity, keys: {} }, ({ snapshot, entries }) => {
    seen.push(`${snapshot.index} ${entries.map((entry) => entry.index)}`);
    return told;
  });
  t.same([index, seen], [7, ['0 1,2,3,4,5,6']]);
  const { log, ledger } = await started(directory);
  t.same(ledger.texts, ['entry 2', 'entry 3', 'entry 4', 'entry 5', 'entry 6', String(told)]);
  t.same(log.members, alone);
  t.match(log.leadership, { role: 'leader', term: 8 + TERMS_LEFT_OUT });
  await log.propose(Buffer.from('next'));
  await log.close();
});

t.test('with a snapshot it goes on from that, and once more does no harm', async (t) => {
  const directory = folder(t);
  await oneOfThree(directory);
  const { storage } = await MemberStorage.open({ directory, identity, keys: {} });
  const machine = new Ledger();
  for (const index of [2, 3, 4]) machine.apply(index, Buffer.from(`entry ${index}`));
  await storage.saveSnapshot({ index: 4, term: 3, membership: three }, machine.snapshot());
  await storage.close();
  for (const expected of [7, 8]) {
    const index = await forceNewCluster({ directory, identity, keys: {} }, ({ snapshot }, state) => {
      const restored = new Ledger();
      restored.restore(snapshot.index, state ?? []);
      t.equal(restored.entries.length, 3);
      return told;
    });
    t.equal(index, expected);
  }
  const { log, ledger } = await started(directory);
  t.same(ledger.texts.slice(3), ['entry 5', 'entry 6', String(told), String(told)]);
  await log.close();
});

t.test('wherever it is cut short, the old cluster is left or the new one is there', async (t) => {
  const outcomes = new Set<string>();
  for (let operations = 1; operations < 25; operations++) {
    for (let seed = 1; seed <= 5; seed++) {
      const disk = new SimulatedDisk(new SeededRng(seed));
      await oneOfThree('/raft', { files: disk.mount() });
      const options = { directory: '/raft', identity, keys: {}, files: disk.mount() };
      const stopped = disk.stopAfter(operations);
      await Promise.race([stopped, forceNewCluster(options, () => told)]);
      disk.cutPower();
      const { storage, initial } = await MemberStorage.open({ ...options, files: disk.mount() });
      await storage.close();
      const last = initial.entries.findLast((entry): entry is MembershipEntry => entry.type === 'membership');
      const members = last?.membership.voters.join('+');
      outcomes.add(`${members} ${initial.entries.length}`);
      if (members === 'm1') t.ok(initial.hardState.term === 7 + TERMS_LEFT_OUT && last?.term === 7 + TERMS_LEFT_OUT);
    }
  }
  t.same([...outcomes].sort(), ['m1 7', 'm1+m2+m3 6']);
});

t.test('without a state, a log or the right one there is nothing to go on with', async (t) => {
  const directory = folder(t);
  const force = (of = identity) => forceNewCluster({ directory, identity: of, keys: {} }, () => told);
  await t.rejects(force(), /the log of this manager is missing/);
  await (await MemberStorage.open({ directory, identity, keys: {} })).storage.close();
  await t.rejects(force(), /has not received the state of the cluster yet/);
  const other = folder(t);
  await oneOfThree(other);
  cpSync(other, directory, { recursive: true });
  await t.rejects(force({ ...identity, clusterId: 'c2' }), /belongs to cluster "c1", not to "c2"/);
});

t.test('a log begins with a state that came from elsewhere', async (t) => {
  const directory = folder(t);
  const machine = new Ledger();
  for (const index of [2, 3, 40]) machine.apply(index, Buffer.from(`entry ${index}`));
  const place = { index: 40, term: 12 };
  await seedLog({ directory, identity, keys: {} }, place, machine.snapshot());
  const { log, ledger } = await started(directory);
  t.same(ledger.entries, machine.entries);
  t.match([log.members, log.leadership], [alone, { role: 'leader', term: 13 }]);
  t.ok((await log.propose(Buffer.from('next'))) > 40);
  await log.close();
  await t.rejects(seedLog({ directory, identity, keys: {} }, place, machine.snapshot()), /holds a log already/);
});
