/** Which addresses and numbers networks and tasks have. In: what is taken; out: what is free, in words when nothing is. */
export * from './address-choice.js';
export * from './ip-network.js';
export * from './subnet.js';
export * from './unique-local.js';
export * from './vni.js';
