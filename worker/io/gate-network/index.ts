export { GateNetwork, type GateNetworkOptions } from './gate-network.js';
export { Withdrawals } from './withdrawals.js';
