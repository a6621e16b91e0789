export { GateNetwork, type GateNetworkOptions } from './gate-network.js';
