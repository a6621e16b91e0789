/**
 * The HTTP API of a node: Docker's Engine API for what is the cluster's, `/apiary/v1/...` for what Docker has no words
 * for, and everything else passed through to the local engine. Requests come in on a unix socket and on TCP; records
 * become the Engine API's objects in core/engine-api, and what a request changes is decided in core/requests.
 */
export { AuditLog } from './audit-log.js';
export { createHttpApi } from './server.js';
