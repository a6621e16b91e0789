/**
 * The command line as pflag and cobra have it, which Docker's users know: flags and words come in, values, usage errors
 * and help pages go out. Pure.
 */
export * from './flag.js';
export * from './help.js';
export * from './parse.js';
export * from './quantity.js';
