/** What every `io` may lean on of the machine: its clock, its randomness, and files that are there whole or not at all. */
export * from './durable-file.js';
export * from './system.js';
