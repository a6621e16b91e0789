/** A deliberate fault: `from`, which is found once in `file`, is replaced by `to`. */
export interface Mutant {
  /** What the mutated code does wrong. */
  name: string;
  /** Below raft/. */
  file: string;
  from: string;
  to: string;
}

/** Each breaks one promise of the core or of the disk layer. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'the vote is not persisted',
    file: 'io/member-storage.ts',
    from: "records.push({ type: 'hard-state', ...hardState })",
    to: "records.push({ type: 'hard-state', ...hardState, vote: '' })",
  },
  {
    name: 'the term is not persisted',
    file: 'io/member-storage.ts',
    from: "records.push({ type: 'hard-state', ...hardState })",
    to: "records.push({ type: 'hard-state', ...hardState, term: 1 })",
  },
  {
    name: 'a vote is given before it is durable',
    file: 'core/election.ts',
    from: "state.outbox.sendOnceDurable.push({ type: 'vote-response'",
    to: "state.outbox.send.push({ type: 'vote-response'",
  },
  {
    name: 'a member votes twice in a term',
    file: 'core/election.ts',
    from: 'const isGranted = (vote === from || isFree) && log.isCoveredBy(last);',
    to: 'const isGranted = isFree !== undefined && vote !== undefined && log.isCoveredBy(last);',
  },
  {
    name: 'a longer log wins over a newer one',
    file: 'core/entry-log.ts',
    from: 'return last.term > own.term || (last.term === own.term && last.index >= own.index);',
    to: 'return last.index >= own.index;',
  },
  {
    name: 'half of the voters are taken for a majority',
    file: 'core/quorum.ts',
    from: 'return Math.floor(count / 2) + 1;',
    to: 'return Math.ceil(count / 2);',
  },
  {
    name: "an older term's entry is committed by counting",
    file: 'core/replication.ts',
    from: 'if (index <= state.commit || log.termAt(index) !== state.term) return;',
    to: 'if (index <= state.commit) return;',
  },
  {
    name: 'an append is acknowledged before it is durable',
    file: 'core/replication.ts',
    from: "outbox.sendOnceDurable.push({ type: 'append-response'",
    to: "outbox.send.push({ type: 'append-response'",
  },
  {
    name: 'a leader counts its own entries before they are durable',
    file: 'core/replication.ts',
    from: 'id === options.id ? log.stableIndex :',
    to: 'id === options.id ? log.lastIndex :',
  },
  {
    name: 'a follower does not compare the term of what an append follows',
    file: 'core/replication.ts',
    from: 'if (!log.has(previous)) {',
    to: 'if (previous.index > log.lastIndex) {',
  },
  {
    name: 'a late append cuts off what came after it',
    file: 'core/replication.ts',
    from: 'const firstNew = entries.findIndex((entry) => !log.has(entry));',
    to: 'const firstNew = entries.length === 0 || previous.index + entries.length <= state.commit ? -1 : 0;',
  },
  {
    name: 'a heartbeat commits entries that nobody knows the follower to have',
    file: 'core/replication.ts',
    from: 'commit: Math.min(commit, matchIndex),',
    to: 'commit,',
  },
  {
    name: 'a deposed leader answers reads',
    file: 'core/read-index.ts',
    from: '(leader.progress.get(id)?.ackedRound ?? 0)',
    to: 'leader.round',
  },
  {
    name: 'a new leader answers reads before it knows what is committed',
    file: 'core/read-index.ts',
    from: 'const index = Math.max(state.commit, leader.firstIndex);',
    to: 'const index = state.commit;',
  },
  {
    name: 'a lease outlasts the loyalty of the voters',
    file: 'core/read-index.ts',
    from: 'return Math.floor((electionTicks - 1) / driftRatio) - 1;',
    to: 'return Math.floor(2 * electionTicks * driftRatio);',
  },
  {
    name: 'a lease survives handing over',
    file: 'core/replication.ts',
    from: 'leader.mayHoldLease = false;',
    to: '',
  },
  {
    name: 'a snapshot is installed without its membership',
    file: 'core/snapshot-transfer.ts',
    from: 'state.memberships = new MembershipHistory(snapshot.index, snapshot.membership);',
    to: 'state.memberships = new MembershipHistory(snapshot.index, state.memberships.current);',
  },
  {
    name: 'a snapshot is kept with the newest membership, not that of its place',
    file: 'core/raft-node.ts',
    from: 'return { index, term, membership: memberships.at(index) };',
    to: 'return { index, term, membership: memberships.current };',
  },
  {
    name: 'a second membership change does not wait for the first',
    file: 'core/raft-node.ts',
    from: "if (memberships.currentIndex > commit || commit < role.firstIndex) return refuse('change-under-way');",
    to: '',
  },
  {
    name: 'the membership of a replaced entry stays in force',
    file: 'core/membership.ts',
    from: 'this.#steps = [first, ...rest.filter((step) => step.index < index)];',
    to: 'this.#steps = [first, ...rest.map((step) => ({ ...step, index: Math.min(step.index, index - 1) }))];',
  },
  {
    name: 'learners vote and are counted',
    file: 'core/state.ts',
    from: 'return state.memberships.current.voters;',
    to: 'return [...state.memberships.current.voters, ...state.memberships.current.learners];',
  },
  {
    name: 'a piece of a snapshot is taken wherever it belongs',
    file: 'core/snapshot-transfer.ts',
    from: 'if (offset !== incoming.offset) {',
    to: 'if (offset > incoming.offset) {',
  },
  {
    name: 'a leader does not go back to where the logs agree',
    file: 'core/replication.ts',
    from: 'Math.min(rejectedIndex, agreed + 1)',
    to: 'rejectedIndex + 1',
  },
  {
    name: 'a lost append is never missed',
    file: 'core/replication.ts',
    from: 'progress.flow.isDoubtful = progress.matchIndex < progress.nextIndex - 1;',
    to: 'progress.flow.isDoubtful = false;',
  },
  {
    name: 'nothing is synced',
    file: 'io/wal-segment.ts',
    from: 'await this.#file.write(bytes, this.#offset);\n    await this.#file.sync();',
    to: 'await this.#file.write(bytes, this.#offset);',
  },
  {
    name: "a record's CRC is not checked",
    file: 'core/wal-record.ts',
    from: 'if (seal.checksum(bytesOf(view, at + 4, at + bytes), seal.salt) !== crc) return undefined;',
    to: '',
  },
  {
    name: "a snapshot's CRC is not checked",
    file: 'io/snapshot-pieces.ts',
    from: "if (crc !== view.getUint32(4, true)) throw DamagedFileError.at(path, offset, 'the checksum of its piece is wrong');",
    to: 'crc = view.getUint32(4, true);',
  },
  {
    name: 'a snapshot is not synced before it is named',
    file: 'io/snapshot-file.ts',
    from: 'bytes = await writePieces(file, header, pieces, cipher);\n        await file.sync();',
    to: 'bytes = await writePieces(file, header, pieces, cipher);',
  },
  {
    name: 'the log is told of a snapshot before its file is there',
    file: 'io/member-storage.ts',
    from: 'await this.#snapshots.write(meta.index, meta.term, withMembership(meta, pieces));',
    to: "await this.#wal.append([{ type: 'snapshot', index: meta.index, term: meta.term }]);\n    await this.#snapshots.write(meta.index, meta.term, withMembership(meta, pieces));",
  },
  {
    name: 'segments are purged that no snapshot covers',
    file: 'io/member-storage.ts',
    from: 'await this.#wal.purgeThrough(meta.index);',
    to: 'await this.#wal.purgeThrough(Number.POSITIVE_INFINITY);',
  },
  {
    name: 'a received snapshot leaves what cannot follow it in the log',
    file: 'io/member-storage.ts',
    from: 'if (this.#wal.lastIndex >= index) records.push',
    to: 'if (this.#wal.lastIndex < 0) records.push',
  },
  {
    name: 'a key is forgotten that a file still needs',
    file: 'io/member-storage.ts',
    from: 'await keys.retain(new Set([...this.#wal.keyIds(), ...this.#snapshots.keyIds()]));',
    to: 'await keys.retain(new Set(this.#snapshots.keyIds()));',
  },
  {
    name: 'replaced entries come back after a restart',
    file: 'io/wal-recovery.ts',
    from: 'if (record.index < (pending[next]?.index ?? Infinity)) yield',
    to: 'if (record.index > 0) yield',
  },
  {
    name: 'an only voter gives up what its learner may have',
    file: 'core/durability.ts',
    from: 'return isSettled && disk.stable.term === term && leader.progress.size === 0;',
    to: 'return isSettled && disk.stable.term === term;',
  },
];
