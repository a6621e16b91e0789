/** The wire between managers: what a member of their log says goes out here, and what the others say comes in. */
export { decodeFrame, encodeFrames, FrameReader } from './frame.js';
export type { ManagerIdentity } from './peer-credentials.js';
export { RaftTransport, type RaftTransportOptions } from './transport.js';
