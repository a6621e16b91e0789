/** The cluster's certificate authority: in come orders with a node's request, out come certificates. */
export * from './authority.js';
export * from './issuer.js';
export * from './root.js';
export * from './root-preparation.js';
