/**
 * What the network of tasks should be. In come a node's gateway subnet and what tasks ask for; out come addresses, the
 * contents of the files that a resolver reads, and packet filter rules.
 */
export * from './address-pool.js';
export * from './dns-message.js';
export * from './docker-user.js';
export * from './forwarding.js';
export * from './gateway-arrangement.js';
export * from './gateway-ipv6.js';
export * from './gateway-peers.js';
export * from './gateway-rules.js';
export * from './gateway-subnet.js';
export * from './hosts-file.js';
export * from './ip-bytes.js';
export * from './ipam/index.js';
export * from './ipv4.js';
export * from './lost-peers.js';
export * from './mac-address.js';
export * from './names.js';
export * from './names-rules.js';
export * from './network-state.js';
export * from './overlay-row.js';
export * from './published-ports.js';
export * from './resolv-conf.js';
export * from './tunnel-config.js';
export * from './tunnel-rows.js';
export * from './vip-rows.js';
