/** Many files become one: inputs come in, one tree with everything in one form and diagnostics go out. */
export * from './config-document.js';
export * from './env-file.js';
export * from './inputs.js';
export * from './project.js';
