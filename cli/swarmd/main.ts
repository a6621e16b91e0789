import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { SocketPeer } from '@apiary/agent-native';
import { AuditLog, createHttpApi } from '@apiary/manager/http';
import { ApiaryError, messageOf } from '@apiary/std';
import { SystemClock, SystemRng } from '@apiary/std/io';
import { DiskHistory, dockerEngine, dockerNetworks, GateNetwork, PLUGIN_SOCKET } from '@apiary/worker/io';
import { destination, type Logger, pino } from 'pino';
import { lockDataRoot } from './data-root-lock.js';
import { giveBackFreeMemory } from './free-memory.js';
import { SwarmNode } from './local-node.js';
import { readOptions, type SwarmdOptions, USAGE } from './options.js';
import { socketGroupId } from './socket-group.js';

/** How long a stop may take before it is given up: Docker's own is longer, and kills afterwards too. */
const STOP_TIMEOUT_MS = 15_000;

async function ownVersion(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

async function main(args: string[]): Promise<void> {
  const options = readOptions(args);
  const version = await ownVersion();
  if (options === 'help') process.stdout.write(USAGE);
  else if (options === 'version') process.stdout.write(`swarmd version ${version}\n`);
  else await run(options, version);
}

async function run(options: SwarmdOptions, version: string): Promise<void> {
  const logger = pino({ level: options.logLevel, base: null }, destination({ dest: 2, sync: true }));
  await mkdir(options.dataRoot, { recursive: true, mode: 0o700 });
  await mkdir(options.execRoot, { recursive: true, mode: 0o711 });
  const unlock = await lockDataRoot(options.dataRoot);
  const pidFile = join(options.execRoot, 'swarmd.pid');
  await writeFile(pidFile, `${process.pid}\n`);

  const onFatal = (error: unknown) => {
    logger.fatal({ err: error }, 'swarmd cannot go on');
    process.exit(70);
  };
  process.on('uncaughtException', onFatal);
  process.on('unhandledRejection', onFatal);

  const { dataRoot, engineSocketPath, genericResources, unixHosts, tcpHosts, tlsHosts } = options;
  const clock = new SystemClock();
  const rng = new SystemRng();
  const engine = dockerEngine({ socketPath: engineSocketPath, clock });
  const network = (onTrouble: () => void) =>
    new GateNetwork({
      directory: join(options.execRoot, 'network'),
      clock,
      rng,
      logger: logger.child({ part: 'network' }),
      onTrouble,
      attachable: { engine: dockerNetworks({ socketPath: engineSocketPath, clock }), pluginSocket: PLUGIN_SOCKET },
    });
  const history = new DiskHistory({
    directory: join(dataRoot, 'history'),
    limits: options.keptLogs,
    clock,
    logger: logger.child({ part: 'history' }),
  });
  const node = new SwarmNode({
    dataRoot,
    engine,
    genericResources,
    network,
    contentsDirectory: join(options.execRoot, 'contents'),
    history,
    clock,
    rng,
    logger,
    onFatal,
  });
  const http = logger.child({ part: 'http' });
  const audit = new AuditLog({ path: join(dataRoot, 'audit.log'), clock, logger: http });
  const names = [hostname(), 'localhost', '127.0.0.1', '::1', ...tlsHosts.map(({ host }) => host)];
  const api = await createHttpApi({
    node,
    engineSocketPath,
    logger: http,
    version,
    clock,
    names,
    audit,
    peerOf: await peerReader(logger),
  });
  const groupId = await socketGroupId(options.socketGroup, logger);
  await node.resume();
  // Whoever reaches it may have it stopped.
  const stopping = stopSignal();
  for (const socketPath of unixHosts) await api.listen({ socketPath, groupId });
  for (const tcp of tcpHosts) {
    await api.listen({ tcp });
    logger.warn({ ...tcp }, 'whoever reaches this address owns this host: every process of this machine does');
  }
  for (const tls of tlsHosts) await api.listen({ tls });
  logger.info({ version, dataRoot, hosts: unixHosts, pid: process.pid }, 'swarmd is up');
  const keepFreeMemory = await giveBackFreeMemory(clock, logger);

  const signal = await stopping;
  keepFreeMemory();
  logger.info({ signal }, 'stopping: containers run on');
  setTimeout(
    () => onFatal(new ApiaryError('internal', `not stopped after ${STOP_TIMEOUT_MS} ms`)),
    STOP_TIMEOUT_MS,
  ).unref();
  node.cutShort();
  await api.close();
  await node.stop();
  engine.close();
  await rm(pidFile, { force: true });
  await unlock();
  logger.info('stopped');
  // What still waits for an answer or for its time to be over waits in vain.
  process.exit();
}

/** As the kernel has it; where its interface is not to be had, callers are not told apart. */
async function peerReader(logger: Logger): Promise<(socket: Socket) => SocketPeer | undefined> {
  try {
    const { socketPeer } = await import('@apiary/agent-native');
    return socketPeer;
  } catch (error) {
    logger.warn({ reason: messageOf(error) }, 'the audit log will not say which user of this host called');
    return () => undefined;
  }
}

function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`swarmd: ${messageOf(error)}\n`);
  if (error instanceof ApiaryError && error.code === 'invalid-argument') {
    process.stderr.write(`See 'swarmd --help'.\n`);
    process.exit(2);
  }
  process.exit(1);
}
