/** A project becomes the bodies of the Engine API: one tree comes in; services, networks, secrets and configs go out. */
export type { ContentSource } from './contents.js';
export * from './convert-stack.js';
export * from './image-name.js';
export { isUserDefined } from './networks.js';
export * from './stack.js';
