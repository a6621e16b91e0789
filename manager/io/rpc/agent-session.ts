import type { SessionUpdate } from '@apiary/api/rpc';
import type { Timer } from '@apiary/std';
import type { Sent } from '../../core/dispatch/assignments.js';
import { NetworkFeed } from '../../core/dispatch/network-feed.js';
import type { NodeRecord } from '../../core/store/records.js';
import type { AgentStream } from './agent-stream.js';
import { AttachmentFeed } from './attachment-feed.js';
import { ContentFeed } from './content-feed.js';

/** What every session is told alike. */
export type SharedUpdate = Omit<SessionUpdate, 'role' | 'gatewaySubnet'>;

/** One agent's session with this manager. */
export interface Session {
  nodeId: string;
  stream: AgentStream;
  /** Where the call came from: the node's address, unless it advertises another. */
  peerAddr: string;
  addr: string;
  phase: 'silent' | 'introduced' | 'welcome';
  /** Ends the session when no Hello comes, or before that, no leader is found. */
  helloTimer: Timer;
  sent: Sent | undefined;
  networks: NetworkFeed;
  contents: ContentFeed;
  attachments: AttachmentFeed;
  /** Whether something was committed that the agent may have to be told. */
  isBehind: boolean;
  update: SharedUpdate | undefined;
  role: NodeRecord['role'] | undefined;
  /** The agent has said its last word; the session is over once that is recorded. */
  isHalfClosed: boolean;
  workUnderWay: number;
  engineError: string;
  /** Runs from the moment in which the engine went away, and is over when it is taken for down. */
  engineTimer: Timer | undefined;
}

/** One whose agent has said nothing yet. @param peerAddr  where the call came from */
export function newSession(nodeId: string, stream: AgentStream, peerAddr: string): Session {
  return {
    nodeId,
    stream,
    peerAddr,
    addr: '',
    phase: 'silent',
    helloTimer: { cancel: () => {} },
    sent: undefined,
    networks: new NetworkFeed(),
    contents: new ContentFeed(new Uint8Array()),
    attachments: new AttachmentFeed(),
    isBehind: true,
    update: undefined,
    role: undefined,
    isHalfClosed: false,
    workUnderWay: 0,
    engineError: '',
    engineTimer: undefined,
  };
}
