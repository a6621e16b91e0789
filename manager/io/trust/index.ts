/** The cluster's certificate authority: in come orders with a node's request, out come certificates. */
export * from './authority.js';
