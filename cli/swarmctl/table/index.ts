/**
 * What lists and pages look like: the API's objects come in, Docker's tables and its pages for people go out. Pure.
 */
export * from './access-rows.js';
export * from './contents.js';
export * from './human.js';
export * from './info.js';
export * from './list.js';
export * from './network-rows.js';
export * from './pretty.js';
export * from './rows.js';
export * from './stack-rows.js';
export * from './tab-columns.js';
