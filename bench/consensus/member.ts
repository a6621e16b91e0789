import { type ManagerIdentity, RaftTransport, StoreReplica, startRpcServer } from '@apiary/manager/io';
import type { MembershipChange } from '@apiary/raft/core';
import { ReplicatedLog } from '@apiary/raft/io';
import { messageOf } from '@apiary/std';
import { SystemClock, SystemRng } from '@apiary/std/io';
import { pino } from 'pino';
import { KeyValues } from './key-values.js';
import { servePuts } from './put-server.js';

/** What a member's process is told first. */
export interface MemberSettings {
  id: string;
  start: 'bootstrap' | 'join' | 'resume';
  directory: string;
  clientPort: number;
  /** Where each member, this one too, listens for the others. */
  peers: Record<string, string>;
  identity: ManagerIdentity;
}

export type MemberQuestion = { type: 'status' } | { type: 'change'; change: MembershipChange };

export interface MemberStatus {
  isLeader: boolean;
  term: number;
  appliedIndex: number;
}

/** As rarely as etcd takes them unless told otherwise (3.4: `--snapshot-count 100000`). */
const SNAPSHOTS = { everyEntries: 100_000, everyBytes: 256 * 1024 * 1024 };

/** Answers its parent's questions over IPC until the parent goes. */
export function runMember(): void {
  process.once('message', async (message) => {
    try {
      const ask = await start(message as MemberSettings);
      process.on('message', (question) => {
        ask(question as MemberQuestion).then(say, (error: unknown) => say({ error: messageOf(error) }));
      });
      say(await ask({ type: 'status' }));
    } catch (error) {
      say({ error: messageOf(error) });
    }
  });
  process.once('disconnect', () => process.exit());
  // Its profile, when one is taken, is written by an orderly exit.
  process.once('SIGTERM', () => process.exit());
}

function say(answer: MemberStatus | { error: string }): void {
  process.send?.(answer);
}

/** Puts a member together as swarmd does, but for what the entries mean. */
async function start(settings: MemberSettings): Promise<(question: MemberQuestion) => Promise<MemberStatus>> {
  const { id, directory, clientPort, peers, identity } = settings;
  const surroundings = { clock: new SystemClock(), rng: new SystemRng(), logger: pino({ level: 'silent' }) };
  const transport = new RaftTransport({
    ...surroundings,
    identity: () => identity,
    addressOf: (peer) => peers[peer],
    ownAddr: () => peers[id],
    onAddress: () => undefined,
  });
  const log = new ReplicatedLog({
    ...surroundings,
    directory,
    identity: { clusterId: identity.clusterId, memberId: id },
    start: settings.start,
    transport,
    keys: {},
    snapshots: SNAPSHOTS,
  });
  const onFatal = (error: unknown) => {
    throw error;
  };
  // Judges who calls: nobody is excluded here, so that its state stays empty.
  const replica = new StoreReplica({ ...surroundings, log, onFatal });
  const services = [transport.service];
  await startRpcServer({ ...surroundings, listenAddr: peers[id] ?? '', identity, services, replica });
  const machine = new KeyValues();
  await log.open(machine);
  await servePuts(clientPort, (request) => log.propose(request));
  return async (question) => {
    if (question.type === 'change') await log.changeMembers(question.change, new Uint8Array(0));
    const { role, term } = log.leadership;
    return { isLeader: role === 'leader', term, appliedIndex: machine.appliedIndex };
  };
}
