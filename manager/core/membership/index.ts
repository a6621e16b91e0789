/** Who the managers are: what comes next so that the log's members are those that the user wants. See README.md. */
export * from './force-new-cluster.js';
export * from './plan-membership.js';
