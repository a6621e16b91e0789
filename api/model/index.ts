/** What crosses the HTTP boundary: specs and their schemas, the Engine API's objects, task states. */
export * from './agent-report.js';
export * from './certificate.js';
export * from './certificate-request.js';
export * from './cluster-spec.js';
export * from './container-templates.js';
export * from './content-spec.js';
export * from './der.js';
export * from './engine-api.js';
export * from './generic-resources.js';
export * from './go-template.js';
export * from './host-port.js';
export * from './join-token.js';
export * from './network-spec.js';
export * from './service-spec.js';
export * from './shape.js';
export * from './task-state.js';
export * from './unlock-key.js';
