export * from './apiary.js';
