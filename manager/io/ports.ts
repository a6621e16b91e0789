import type { InitRequest, JoinRequest, LocalNodeState } from '@apiary/api/model';
import type { LogBatch, LogRequest } from '@apiary/api/rpc';
import type { Leadership, MemberId, Membership, MembershipChange, PeerStatus, ProposeOptions } from '@apiary/raft/core';
import type { Rng } from '@apiary/std';
import type { Decision } from '../core/requests/decision.js';
import type { Change, Touched } from '../core/store/change.js';
import type { View } from '../core/store/view.js';
import type { Issuer } from './trust/issuer.js';

export type { Decision };

/** This manager's copy of the cluster's state, and the way to change it. */
export interface Replica {
  readonly view: View;
  /** The whole of `view` as of the call, with the index of its last entry; drawn later, it is still that. */
  snapshot(): { index: number; pieces: Iterable<Uint8Array> };
  readonly leadership: Leadership;
  /**
   * Runs `decide` on the state of now and commits what it decides, on any manager: who does not lead hands it to the
   * leader, and waits a while for one when there is none. When a guard no longer holds where the entry
   * lands, `decide` runs again on the new state: it throws what the caller should hear.
   *
   * @param options.asLeaderOf  for what a leader decides by itself: refused unless this manager still leads that term
   */
  submit<R>(
    decide: (view: View, context: { nowMs: number; rng: Rng }) => Decision<R>,
    options?: ProposeOptions,
  ): Promise<R>;
  /** Resolves once `view` has all that was committed anywhere when this was called: a linearizable read. */
  barrier(): Promise<void>;
  /** Calls `listener` after each applied entry; returns what ends that. */
  subscribe(listener: (touched: Touched) => void): () => void;
  onLeadership(listener: (leadership: Leadership) => void): () => void;
  /** The managers that take part in the log, and how the others stand: as `Log` has them. */
  readonly members: Membership;
  readonly peers: readonly PeerStatus[];
  onMembers(listener: () => void): () => void;
  /** One step of membership, as `Log.changeMembers` takes it; `changes` happen with it, whatever the state is by then. */
  changeMembers(change: MembershipChange, changes: Change[], options?: { isForced?: boolean }): Promise<void>;
  /** As `Log.transferLeadership`. */
  transferLeadership(to?: MemberId): Promise<void>;
}

/** The output of tasks' containers, from all nodes. */
export interface Logs {
  /**
   * Lines in the order of their time as far as can be told, and what is missing. Goes on over a change of leader. Ends when
   * all is said, and once `signal` aborts.
   *
   * @throws ApiaryError `unavailable` when no leader is found, or this node stops being a manager
   */
  read(request: LogRequest, signal: AbortSignal): AsyncIterable<LogBatch>;
}

/** What the HTTP API asks of the node that it runs on. */
export interface LocalNode {
  status(): LocalNodeStatus;
  /** @throws ApiaryError `not-manager`, with Docker's words, when this node is no manager */
  replica(): Replica;
  /** @throws ApiaryError `not-manager` as `replica` */
  logs(): Logs;
  /** @throws ApiaryError `not-manager` as `replica` */
  issuer(): Issuer;
  /**
   * Encrypts what this manager writes to its log from now on with a new key of its own. @returns the new key's id
   * @throws ApiaryError `not-manager` as `replica`; `resource-exhausted` when the disk refuses
   */
  rotateLogKey(): Promise<string>;
  /**
   * Lets a manager start that is locked.
   *
   * @throws ApiaryError `failed-precondition` when it is not locked, `invalid-argument` for another key, `not-manager`
   */
  unlock(key: string): Promise<void>;
  /** Makes a cluster of this node. @returns the node's id */
  init(request: InitRequest): Promise<string>;
  join(request: JoinRequest): Promise<void>;
  /** @returns warnings: what the leaving costs those who stay */
  leave(force: boolean): Promise<string[]>;
}

export interface LocalNodeStatus {
  nodeId: string;
  nodeAddr: string;
  state: LocalNodeState;
  /** Whether this node is a manager. */
  controlAvailable: boolean;
  error: string;
  remoteManagers: { nodeId: string; addr: string }[];
}
