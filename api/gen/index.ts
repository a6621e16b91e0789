export * from './apiary.js';
export { type Finished, type Frame, RaftClient, type RaftServer, RaftService } from './raft.js';
