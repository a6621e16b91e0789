import { connect, type TLSSocket } from 'node:tls';
import { parseHostPort } from '@apiary/api/model';
import { ApiaryError, messageOf, systemCodeOf } from '@apiary/std';
import { MANAGER_SERVER_NAME } from './channel.js';

/**
 * Finds out whether a manager answers at `addr` as far as TLS can tell, since gRPC's own errors have words but no
 * codes for what went wrong below it. Sends nothing.
 *
 * @param options.rootPem  when it is known: the manager must then prove to be one of that root
 * @throws ApiaryError `unavailable` that says what is there instead
 */
export function probeManager(addr: string, options: { deadlineMs: number; rootPem?: string }): Promise<void> {
  const { host, port } = parseHostPort(addr, 'remote address');
  const { rootPem } = options;
  const timeoutMs = Math.max(1, options.deadlineMs - Date.now());
  return new Promise((resolve, reject) => {
    let isConnected = false;
    const socket: TLSSocket = connect({
      host,
      port,
      servername: MANAGER_SERVER_NAME,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
      rejectUnauthorized: rootPem !== undefined,
      ...(rootPem === undefined ? {} : { ca: rootPem }),
    });
    const finish = (problem?: string, cause?: unknown): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      // A connection that is being closed may still fail, which says nothing any more.
      socket.on('error', () => undefined);
      socket.destroy();
      if (problem === undefined) resolve();
      else reject(new ApiaryError('unavailable', problem, { cause }));
    };
    const timer = setTimeout(() => finish(silence(addr, isConnected, timeoutMs)), timeoutMs);
    socket.on('connect', () => {
      isConnected = true;
    });
    socket.on('secureConnect', () => {
      if (socket.alpnProtocol === 'h2') finish();
      else finish(`${addr} is no manager of a cluster: it speaks TLS, but not gRPC; ${ADVICE}`);
    });
    socket.on('error', (error) => {
      if (!isConnected) finish(unreachable(addr, host, error), error);
      else if (rootPem === undefined)
        finish(`${addr} is no manager of a cluster: it does not speak TLS 1.3; ${ADVICE}`, error);
      else finish(`${addr} does not prove to be a manager of the token's cluster: ${messageOf(error)}`, error);
    });
    socket.on('close', () => finish(`${addr} is no manager of a cluster: it closes the connection; ${ADVICE}`));
  });
}

const ADVICE = 'give the address of a manager, as "swarmctl join-token" shows it';

function unreachable(addr: string, host: string, error: Error): string {
  switch (systemCodeOf(error)) {
    case 'ECONNREFUSED':
      return `nothing listens at ${addr}: check the address, and that a manager runs there`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `cannot find the host "${host}": check the name, or give an IP address`;
    default:
      return `cannot reach ${addr}: ${messageOf(error)}; check the network and the firewall between the hosts`;
  }
}

function silence(addr: string, isConnected: boolean, timeoutMs: number): string {
  const within = `within ${Math.round(timeoutMs / 100) / 10} s`;
  return isConnected
    ? `${addr} is no manager of a cluster: it accepts connections, but did not answer ${within}; ${ADVICE}`
    : `cannot reach ${addr}: no answer ${within}; check the network and the firewall between the hosts`;
}
