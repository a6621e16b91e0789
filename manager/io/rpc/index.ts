/**
 * The managers' door for nodes: gRPC over mutual TLS. Calls come in, judged by the caller's certificate; certificates,
 * assignments and acknowledgements go out; what agents say goes through the replica into the log.
 */
export type { AgentCall } from './agent-stream.js';
export * from './credentials.js';
export { Dispatcher } from './dispatcher.js';
export { nodeCaService } from './node-ca.js';
export { type RpcServer, type RpcService, startRpcServer } from './server.js';
