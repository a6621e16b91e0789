/**
 * The Linux kernel's own interfaces: rtnetlink, mounts, namespaces, sysctls and BPF.
 * Plain values in and out, no policy: what should be there is decided elsewhere. Everything is asynchronous, on threads of
 * the addon's own; what the kernel refuses rejects with a KernelError that has its number and its words.
 */
export { KernelError } from './kernel-error.js';
export * from './mount.js';
export { createNetworkNamespace, deleteNetworkNamespace, type NamespaceRef } from './namespace.js';
export { readSysctls, writeSysctls } from './sysctl.js';
