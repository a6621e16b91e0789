/**
 * What a request means: committed state and what was asked come in, a decision goes out, or Docker's words for why
 * not. Which object a user means by a name or the beginning of an id is found before (engine-api/reference.ts).
 */
export * from './attachment-requests.js';
export * from './client-certificate-requests.js';
export * from './cluster-requests.js';
export { standardBase64 } from './content-check.js';
export * from './content-requests.js';
export type * from './decision.js';
export { completeClusterSpec, defaultClusterSpec, type RaftSettings, raftSettingsOf } from './honoured.js';
export * from './join-token-requests.js';
export { costOfRemoval, type RemovalCost } from './manager-removal.js';
export { withNetworkIds } from './network-references.js';
export {
  checkNetworkWords,
  createNetwork,
  ENCRYPTED_OPTION,
  isBeingLeft,
  MTU_OPTION,
  removeNetwork,
  VNI_OPTION,
} from './network-requests.js';
export { addressPoolsOf, DOCKER_SUBNET_LENGTH, dataPathPortOf, readNetworkSettings } from './network-settings.js';
export * from './node-requests.js';
export * from './rebalance-requests.js';
export { firstRootOf, type GivenRoot, noSigner, type RootChange, rootChangeOf } from './root-change.js';
export * from './service-requests.js';
export { checkConstraints } from './service-spec-check.js';
export { checkWords } from './spec-words.js';
