export * from './task-contents.js';
