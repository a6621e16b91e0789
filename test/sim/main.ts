/** `npm run sim`: both simulators, one after the other, with the same arguments. Each sets the exit status when it fails. */
await import('./raft/main.js');
await import('./cluster/main.js');
