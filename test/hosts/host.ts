import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ApiaryError } from '@apiary/std';
import { killRoot, type Lab } from './lab.js';
import type { LinkQuality, Network } from './network.js';
import { childOf, DIES_WITH_US, LongRunning, mustRun, type Outcome, type RunOptions, run } from './process.js';
import { unixGetJson, unixRequest } from './unix-http.js';
import { logTail, until } from './until.js';

/** What the hosts are made with, found once for all of them. */
export interface Machine {
  /** The repository's root, where bin/swarmd is. */
  repository: string;
  /** An environment whose PATH has all tools. */
  env: NodeJS.ProcessEnv;
}

/** A container as the Engine API lists it, as far as the tests look. */
export interface ListedContainer {
  Id: string;
  Names: string[];
  Image: string;
  State: string;
  Status: string;
  Labels: Record<string, string>;
}

export interface SwarmdOptions {
  /** Arguments after the usual ones. */
  args?: readonly string[];
  env?: NodeJS.ProcessEnv;
  timeoutMs?: number;
}

/** A host's first process: makes its own name and private /run, says so, and then only reaps orphans. */
const INIT = [
  'echo "$1" > /proc/sys/kernel/hostname',
  'mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/lock /run/docker/plugins',
  // Away with the machine's daemon.json, and with an engine identity that all hosts would share.
  'mkdir -p /etc/docker && mount -t tmpfs tmpfs /etc/docker',
  'echo up && exec >/dev/null',
  'while :; do sleep 86400 & wait $!; done',
].join(' && ');

/**
 * One test host: network, mount, UTS and PID namespaces of its own, a Docker Engine, and a place for swarmd.
 * It shares the machine's file system, apart from /run and /etc/docker.
 */
export class Host {
  /** `h1`, `h2`, ...: the host's name inside and out. */
  readonly name: string;
  readonly address: string;
  /** Where the host's engine and swarmd keep their data, sockets and logs. */
  readonly directory: string;
  readonly engineSocket: string;
  readonly swarmdSocket: string;
  readonly swarmdLog: string;
  #init = 0;
  #engine: LongRunning | undefined;
  #swarmd: LongRunning | undefined;

  constructor(
    /** 1, 2, ...: the last octet of the address too. */
    readonly number: number,
    readonly lab: Lab,
    readonly network: Network,
    readonly machine: Machine,
  ) {
    this.name = `h${number}`;
    this.address = network.address(number);
    this.directory = join(lab.directory, this.name);
    this.engineSocket = join(this.directory, 'docker.sock');
    this.swarmdSocket = join(this.directory, 'swarmd.sock');
    this.swarmdLog = join(this.directory, 'swarmd.log');
    mkdirSync(this.directory, { recursive: true });
  }

  /** The host's first process, as the machine sees it; a name for its namespaces (`nsenter -t PID -a`). */
  get pid(): number {
    return this.#init;
  }

  /** The process id of swarmd, as the machine sees it. */
  get swarmdPid(): number {
    return this.#running(this.#swarmd, 'swarmd').pid;
  }

  /** The process id of dockerd, as the machine sees it. */
  get enginePid(): number {
    return this.#running(this.#engine, 'the engine').pid;
  }

  /** Makes the host's namespaces and its link; the engine is not started. */
  async powerOn(): Promise<void> {
    const [program, ...setpriv] = DIES_WITH_US;
    const namespaces = ['--mount', '--uts', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const unshare = ['unshare', ...namespaces, '--propagation', 'private'];
    const args = [...setpriv, ...unshare, 'sh', '-c', INIT, `${this.lab.name}-${this.name}`, this.name];
    const env = this.machine.env;
    const holder = spawn(program, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const said: Buffer[] = [];
    holder.stderr.on('data', (chunk: Buffer) => said.push(chunk));
    const up = await Promise.race([
      once(holder.stdout, 'data').then(() => true),
      once(holder, 'exit').then(() => false),
    ]);
    const init = childOf(holder.pid);
    if (!up || init === undefined) {
      const words = Buffer.concat(said).toString().trim();
      throw new ApiaryError('internal', `host ${this.name} did not come up: ${words}`);
    }
    this.lab.addRoot(init);
    this.#init = init;
    holder.stdout.destroy();
    holder.stderr.destroy();
    holder.unref();
    await this.network.connect(this.number, init);
  }

  /** Ends the host as a power cut does: kill -9 to everything in it, and its link gone. Its files stay. */
  async powerOff(): Promise<void> {
    // The link first: a host without power tells nobody that its connections are over.
    await this.network.disconnect(this.number);
    killRoot(this.#init);
    await until(`host ${this.name} to go off`, () => !existsSync(`/proc/${this.#init}`));
    this.lab.forgetRoot(this.#init);
    this.#init = 0;
    this.#engine = undefined;
    this.#swarmd = undefined;
    for (const path of [this.engineSocket, this.swarmdSocket]) rmSync(path, { force: true });
  }

  /** Runs a command in the host, in its root directory, to its end. */
  exec(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Outcome> {
    return run([...this.#enter(), command, ...args], { env: this.machine.env, ...options });
  }

  /** Starts a command in the host that runs on, until it is killed or the host goes. */
  async spawn(command: string, args: readonly string[], log: string, env?: NodeJS.ProcessEnv): Promise<LongRunning> {
    const name = `${command.split('/').pop()} in ${this.name}`;
    return LongRunning.start(name, [...this.#enter(), command, ...args], log, { ...this.machine.env, ...env });
  }

  /** Unplugs the host: a silent black hole in both directions. Its addresses and interfaces stay. */
  cut(): Promise<void> {
    return this.network.cut(this.number, true);
  }

  /** Plugs the host in again. */
  heal(): Promise<void> {
    return this.network.cut(this.number, false);
  }

  /** Delays and drops what goes over the host's link, each way; the quality given last is the one that counts. */
  netem(quality: LinkQuality): Promise<void> {
    return this.network.shape(this.number, quality);
  }

  /** Makes the host's link as good as new. */
  clearNetem(): Promise<void> {
    return this.network.shape(this.number, undefined);
  }

  /** Starts the Docker Engine, with these arguments after the usual ones, and resolves once it answers. */
  async startEngine(more: readonly string[] = []): Promise<void> {
    const log = join(this.directory, 'engine.log');
    const pidFile = join(this.directory, 'docker.pid');
    // A killed engine leaves both files, and a new one would believe the numbers in them.
    rmSync(pidFile, { force: true });
    await this.#mustExec('rm', ['-f', '/run/docker/containerd/containerd.pid']);
    const args = ['--data-root', join(this.directory, 'docker'), '--exec-root', '/run/docker', '--pidfile', pidFile];
    args.push('--host', `unix://${this.engineSocket}`, '--storage-driver', 'overlay2');
    args.push('--cgroup-parent', `/${this.lab.name}/${this.name}`);
    const engine = await this.spawn('dockerd', [...args, ...more], log);
    this.#engine = engine;
    await this.#answers(engine, this.engineSocket, { log, timeoutMs: 30_000 });
  }

  /** Kills dockerd, and with it its containerd, with kill -9. Containers run on, unattended. */
  async killEngine(): Promise<void> {
    const engine = this.#running(this.#engine, 'the engine');
    engine.kill('SIGKILL');
    await engine.exited;
    this.#engine = undefined;
  }

  /** Loads an archive as `docker save` makes it into the engine. */
  async loadImages(archive: Buffer): Promise<void> {
    const body = { type: 'application/x-tar', bytes: archive };
    const answer = await unixRequest(this.engineSocket, 'POST', '/images/load?quiet=1', body);
    if (answer.status === 200 && !answer.body.includes('"error"')) return;
    throw new ApiaryError('internal', `the engine of ${this.name} did not load the images: ${answer.body.trim()}`);
  }

  /** All of the engine's containers, stopped ones too. */
  engineContainers(): Promise<ListedContainer[]> {
    return unixGetJson(this.engineSocket, '/containers/json?all=1');
  }

  /** What is run as swarmd here, for a test that runs it in its own way. */
  swarmdCommand(): [string, ...string[]] {
    const args = ['--data-root', join(this.directory, 'swarmd'), '--exec-root', join(this.directory, 'swarmd-exec')];
    args.push('--host', `unix://${this.swarmdSocket}`, '--engine-host', `unix://${this.engineSocket}`);
    return [join(this.machine.repository, 'bin', 'swarmd'), ...args];
  }

  /** Starts swarmd and resolves once it answers; its log goes to `swarmdLog`. */
  async startSwarmd(options: SwarmdOptions = {}): Promise<void> {
    if (this.#swarmd !== undefined && this.#swarmd.code === undefined) {
      throw new ApiaryError('failed-precondition', `swarmd is running on ${this.name} already`);
    }
    this.#executable('swarmd');
    const [command, ...args] = this.swarmdCommand();
    const swarmd = await this.spawn(command, [...args, ...(options.args ?? [])], this.swarmdLog, options.env);
    this.#swarmd = swarmd;
    await this.#answers(swarmd, this.swarmdSocket, { log: this.swarmdLog, timeoutMs: options.timeoutMs ?? 20_000 });
  }

  /** Whether a swarmd that was started here is still running. */
  get isSwarmdRunning(): boolean {
    return this.#swarmd !== undefined && this.#swarmd.code === undefined;
  }

  /** Kills swarmd with kill -9. */
  async killSwarmd(): Promise<void> {
    const swarmd = this.#running(this.#swarmd, 'swarmd');
    swarmd.kill('SIGKILL');
    await swarmd.exited;
  }

  /** Stops swarmd with SIGTERM and resolves with its exit code. */
  async stopSwarmd(timeoutMs = 30_000): Promise<number> {
    const swarmd = this.#running(this.#swarmd, 'swarmd');
    swarmd.kill('SIGTERM');
    await until(`swarmd of ${this.name} to stop`, () => swarmd.code !== undefined, { timeoutMs, log: this.swarmdLog });
    return swarmd.exited;
  }

  /** Lets swarmd stand still (SIGSTOP), its connections open. */
  pauseSwarmd(): Promise<void> {
    return this.#running(this.#swarmd, 'swarmd').pause();
  }

  resumeSwarmd(): Promise<void> {
    return this.#running(this.#swarmd, 'swarmd').resume();
  }

  /** Runs swarmctl in the host, against its swarmd. */
  swarmctl(...args: string[]): Promise<Outcome> {
    return this.exec(this.#executable('swarmctl'), ['--host', `unix://${this.swarmdSocket}`, ...args]);
  }

  /**
   * Runs a swarmctl that must succeed, and returns what it printed.
   *
   * @throws ApiaryError `internal` with its words and the last lines of swarmd's log
   */
  async mustSwarmctl(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.swarmctl(...args);
    if (code === 0) return stdout;
    const said = `${stdout}${stderr}`.trim();
    const message = `\`swarmctl ${args.join(' ')}\` on ${this.name} ended with code ${code}: ${said}`;
    throw new ApiaryError('internal', `${message}${logTail(this.swarmdLog)}`);
  }

  /** Runs the docker command against the host's swarmd. */
  docker(...args: string[]): Promise<Outcome> {
    return run(['docker', '--host', `unix://${this.swarmdSocket}`, ...args], { env: this.machine.env });
  }

  /** Runs the docker command against the host's engine. */
  engineDocker(...args: string[]): Promise<Outcome> {
    return run(['docker', '--host', `unix://${this.engineSocket}`, ...args], { env: this.machine.env });
  }

  /** Gives swarmd a data root of a certain size, which can be filled: a tmpfs that only the host sees. */
  async mountDataRoot(size: { sizeBytes: number }): Promise<void> {
    const path = join(this.directory, 'swarmd');
    mkdirSync(path, { recursive: true });
    await this.#mustExec('mount', ['-t', 'tmpfs', '-o', `size=${size.sizeBytes},mode=700`, 'tmpfs', path]);
  }

  async #mustExec(command: string, args: readonly string[]): Promise<string> {
    return mustRun([...this.#enter(), command, ...args], { env: this.machine.env });
  }

  #enter(): string[] {
    if (this.#init === 0) throw new ApiaryError('failed-precondition', `host ${this.name} is powered off`);
    return ['nsenter', '-t', `${this.#init}`, '--mount', '--uts', '--net', '--pid', '--'];
  }

  async #answers(daemon: LongRunning, socket: string, options: { log: string; timeoutMs: number }): Promise<void> {
    const hopeless = () => (daemon.code === undefined ? undefined : `it ended with code ${daemon.code}`);
    const ping = async () => {
      const { status, body } = await unixRequest(socket, 'GET', '/_ping', undefined, 2_000);
      if (status !== 200) throw new Error(`/_ping answers with status ${status}: ${body.trim()}`);
      return true;
    };
    await until(`${daemon.name} to answer`, ping, { ...options, hopeless });
  }

  #running(daemon: LongRunning | undefined, name: string): LongRunning {
    if (daemon !== undefined && daemon.code === undefined) return daemon;
    throw new ApiaryError('failed-precondition', `${name} is not running on ${this.name}`);
  }

  #executable(name: string): string {
    const path = join(this.machine.repository, 'bin', name);
    if (existsSync(path)) return path;
    throw new ApiaryError('failed-precondition', `bin/${name} is missing: run \`npm run build\` first`);
  }
}
