/**
 * Makes the network of tasks as `core/` says, in the kernel, and keeps it so. In comes a subnet; out come interfaces in
 * the namespaces of containers.
 */
export type { NamesPlace } from './gateway-names.js';
export * from './gateway-network.js';
export { HostVips, type HostVipsOptions, removeHostVips } from './host-vips.js';
export { type Asker, NameServer, type NameServerOptions } from './name-server.js';
export { NamespaceNames, type NamespaceNamesOptions } from './namespace-names.js';
export { OverlayNetwork, type OverlayNetworkOptions, removeOverlayNetwork } from './overlay-network.js';
