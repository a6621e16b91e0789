export * from './apiary.js';
export {
  type KeptLogs,
  type LogBatch,
  type LogCancel,
  type LogLine,
  type LogOptions,
  type LogPosition,
  type LogQuery,
  LogReaderClient,
  type LogReaderServer,
  LogReaderService,
  type LogRequest,
  LogsClient,
  type LogsServer,
  LogsService,
} from './logs.js';
export { type Finished, type Frame, RaftClient, type RaftServer, RaftService } from './raft.js';
export type {
  AssignedNetwork,
  Attachment,
  AttachmentsReport,
  AttachmentsUpdate,
  Endpoint,
  EndpointSetUpdate,
  HeldAttachment,
  NamedService,
  NetworkNode,
  NodeTableUpdate,
  PortBackend,
  PublishedPort,
  PublishedPortsUpdate,
  TaskAttachment,
} from './network.js';
