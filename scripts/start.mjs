// `npm start`: installs what is missing, builds, and runs the demo: a cluster of three test hosts, until Ctrl-C.
import { prepare } from './prepare.mjs';

prepare();
const { demo } = await import('../test/dist/hosts/demo.js');
process.exit(await demo(process.argv.slice(2)));
