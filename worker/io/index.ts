export type * from './engine.js';
export * from './enrolment/index.js';
