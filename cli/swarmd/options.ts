import { parseArgs } from 'node:util';
import { type GenericResource, parseHostPort, readGenericResources } from '@apiary/api/model';
import { ApiaryError, messageOf } from '@apiary/std';
import { parseBytes, parsePositiveDuration } from '../swarmctl/command-line/index.js';

/** What `swarmd` was started with. */
export interface SwarmdOptions {
  /** What must outlive the daemon: the log, the node's certificate. */
  dataRoot: string;
  /** What need not outlive a boot: the pid file. */
  execRoot: string;
  /**
   * Where the HTTP API listens: paths of unix sockets, TCP addresses of this machine alone, and TCP addresses for those who
   * show a client certificate.
   */
  unixHosts: string[];
  tcpHosts: { host: string; port: number }[];
  tlsHosts: { host: string; port: number }[];
  /** Whose members may use the unix sockets; undefined when nobody said so. */
  socketGroup: string | undefined;
  /** The unix socket of the local container engine. */
  engineSocketPath: string;
  /** What this host has for tasks beside CPU and memory. */
  genericResources: GenericResource[];
  /** How long and how much of the output of tasks is kept that are gone; nothing when one of them is 0. */
  keptLogs: { maxAgeMs: number; maxBytes: number };
  logLevel: string;
}

export const USAGE = `Usage:  swarmd [OPTIONS]

The daemon of Apiary: runs on every host of a cluster, in the foreground.

Options:
      --data-root DIR      What must outlive the daemon: the log, the certificate (default /var/lib/swarmd)
      --exec-root DIR      Run-time state (default /run/swarmd)
  -H, --host ADDRESS       Where the API listens, may be given several times: unix://PATH, tcp://127.0.0.1:PORT, or
                           tls://ADDRESS:PORT for clients with a certificate ("swarmctl client-cert create")
                           (default unix:///run/swarmd/swarmd.sock)
  -G, --group GROUP        Whose members may use the unix sockets, by name or id (default docker, if there is one)
      --engine-host unix://PATH
                           The container engine of this host (default unix:///var/run/docker.sock)
      --node-generic-resource KIND=VALUE
                           What this host has for tasks beside CPU and memory: a number of pieces (ssd=4), or, given
                           several times, the name of each (gpu=UUID1)
      --kept-logs-age DURATION
                           How long the output of tasks that are gone is kept, 0 for not at all (default 168h)
      --kept-logs-size BYTES
                           How much of it at most; of one task, the last 1 MiB (default 64m)
  -l, --log-level LEVEL    trace, debug, info, warn, error or fatal (default info)
  -v, --version            Print the version and quit
      --help               Print this and quit

Logs go to stderr, one JSON object a line. SIGTERM and SIGINT stop the daemon; containers go on running.

Examples:
  swarmd
  swarmd -H unix:///run/swarmd/swarmd.sock -H tls://0.0.0.0:2376
  swarmd --data-root /srv/apiary --engine-host unix:///run/docker.sock --log-level debug
`;

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];

/**
 * Reads the command line, without the program's name.
 *
 * @returns the options, or what is to be printed instead of starting
 * @throws ApiaryError `invalid-argument` that names the flag
 */
export function readOptions(args: string[]): SwarmdOptions | 'help' | 'version' {
  const { values } = parse(args);
  if (values.help) return 'help';
  if (values.version) return 'version';
  const logLevel = values['log-level'] ?? 'info';
  if (!LOG_LEVELS.includes(logLevel)) {
    throw new ApiaryError('invalid-argument', `--log-level ${logLevel}: expected one of ${LOG_LEVELS.join(', ')}`);
  }
  const options: SwarmdOptions = {
    dataRoot: absolute('--data-root', values['data-root'] ?? '/var/lib/swarmd'),
    execRoot: absolute('--exec-root', values['exec-root'] ?? '/run/swarmd'),
    unixHosts: [],
    tcpHosts: [],
    tlsHosts: [],
    socketGroup: values.group,
    engineSocketPath: unixPath('--engine-host', values['engine-host'] ?? 'unix:///var/run/docker.sock'),
    genericResources: readGenericResources(values['node-generic-resource'] ?? []),
    keptLogs: {
      maxAgeMs: quantity('--kept-logs-age', values['kept-logs-age'] ?? '168h', parsePositiveDuration) / 1e6,
      maxBytes: quantity('--kept-logs-size', values['kept-logs-size'] ?? '64m', parseBytes),
    },
    logLevel,
  };
  for (const host of values.host ?? ['unix:///run/swarmd/swarmd.sock']) {
    if (host.startsWith('tls://')) options.tlsHosts.push(tlsAddress(host));
    else if (host.startsWith('tcp://')) options.tcpHosts.push(loopbackAddress(host));
    else options.unixHosts.push(unixPath('--host', host));
  }
  return options;
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        'data-root': { type: 'string' },
        'exec-root': { type: 'string' },
        host: { type: 'string', short: 'H', multiple: true },
        group: { type: 'string', short: 'G' },
        'engine-host': { type: 'string' },
        'node-generic-resource': { type: 'string', multiple: true },
        'kept-logs-age': { type: 'string' },
        'kept-logs-size': { type: 'string' },
        'log-level': { type: 'string', short: 'l' },
        version: { type: 'boolean', short: 'v' },
        help: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new ApiaryError('invalid-argument', messageOf(error), { cause: error });
  }
}

function quantity(flag: string, text: string, parseText: (text: string) => number): number {
  try {
    return parseText(text);
  } catch (error) {
    throw new ApiaryError('invalid-argument', `${flag} ${text}: ${messageOf(error)}`, { cause: error });
  }
}

function absolute(flag: string, path: string): string {
  if (path.startsWith('/')) return path;
  throw new ApiaryError('invalid-argument', `${flag} ${path}: expected an absolute path`);
}

/** The longest path that `sockaddr_un` takes. */
const MAX_SOCKET_PATH_BYTES = 107;

function unixPath(flag: string, address: string): string {
  const path = address.startsWith('unix://') ? address.slice('unix://'.length) : '';
  if (!path.startsWith('/')) throw new ApiaryError('invalid-argument', `${flag} ${address}: expected unix:///PATH`);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new ApiaryError(
      'invalid-argument',
      `${flag} ${address}: longer than ${MAX_SOCKET_PATH_BYTES} bytes, which no socket may be`,
    );
  }
  return path;
}

function tlsAddress(address: string): { host: string; port: number } {
  try {
    return parseHostPort(address.slice('tls://'.length), 'address');
  } catch (error) {
    throw new ApiaryError('invalid-argument', `--host ${address}: ${messageOf(error)}`, { cause: error });
  }
}

/** Whoever reaches the API without a certificate owns the host: that is for this machine alone. */
function loopbackAddress(address: string): { host: string; port: number } {
  const [, host, port] = /^tcp:\/\/(127(?:\.\d+){3}|localhost|\[::1\]):(\d{1,5})$/.exec(address) ?? [];
  if (host === undefined || port === undefined || Number(port) > 65_535) {
    throw new ApiaryError(
      'invalid-argument',
      `--host ${address}: expected tcp://127.0.0.1:PORT; other addresses need client certificates: tls://ADDRESS:PORT`,
    );
  }
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}
