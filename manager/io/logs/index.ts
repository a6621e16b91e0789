export { ClusterLogs } from './cluster-logs.js';
export { LogBroker } from './log-broker.js';
