/**
 * What the tasks of `ingress` and `rolling` run: answers each request with a few bytes, on the port of its first argument.
 *
 * Told to stop, it says with each answer that the connection is over, for as many milliseconds as the second argument says;
 * then it closes those that nothing was asked on, and ends. So whoever loses a request loses it to the network.
 */
import { createServer } from 'node:http';

const [port, drainMs] = process.argv.slice(2).map(Number);
let isDraining = false;
const server = createServer({ keepAliveTimeout: 0 }, (_request, response) => {
  if (isDraining) response.setHeader('Connection', 'close');
  response.end('here\n');
});
server.listen(port);
process.on('SIGTERM', () => {
  isDraining = true;
  setTimeout(() => server.close(() => process.exit()), drainMs);
});
