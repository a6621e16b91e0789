/** Who is who and may do what: in come tokens, requests and callers; out come nodes, certificates to sign, refusals. */
export * from './access.js';
export * from './certificate.js';
export * from './client-access.js';
export * from './enrol.js';
export * from './external-ca.js';
export * from './root-rotation.js';
