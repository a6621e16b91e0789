/**
 * Test hosts: N hosts on one machine come out, each with namespaces and a Docker Engine of its own, together with
 * the means to break them. In comes a Linux machine with root and what scripts/requirements.mjs names.
 */
export { freePort } from './free-port.js';
export { Host, type ListedContainer, type SwarmdOptions } from './host.js';
export { type FormOptions, Hosts, type HostsOptions, hostsUp, missingForHosts } from './hosts.js';
export { archiveOf, busyboxLayer, imageArchive } from './image.js';
export { LABS_DIRECTORY, sweep } from './lab.js';
export type { LinkQuality } from './network.js';
export { LongRunning, type Outcome, type RunOptions, run } from './process.js';
export { archive, file, header } from './tar.js';
export { unixGetJson, unixRequest } from './unix-http.js';
export { logTail, type UntilOptions, until } from './until.js';
