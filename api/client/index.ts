/**
 * The typed client of the HTTP API: a daemon's address comes in, the Engine API's objects go out. The command line,
 * the tests and the benches use it. Every failure is an `ApiaryError`; an answer with an error status, an `ApiError`. Beside
 * it, what both ends of a gRPC call share: statuses as errors, streams put in order, and keys to be certified.
 */
export * from './certificate-key.js';
export * from './client.js';
export * from './host-address.js';
export * from './ordered-merge.js';
export * from './registry-auth.js';
export * from './rpc-status.js';
export * from './sealed-content.js';
export * from './tls-info.js';
export { ApiError, type RequestOptions, type TlsFiles } from './transport.js';
