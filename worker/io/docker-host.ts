import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * The engine's side: namespaces of its own (network, mounts, processes), orders on stdin, and an end to all of it
 * when stdin ends: when whoever reads this is gone, however it went.
 */
const INSIDE = `
mount -t tmpfs tmpfs /run
ip link set lo up
start() {
  # A killed engine leaves both, and a new one believes in the number while its containerd is not reaped yet.
  rm -f "$DIR/docker.pid" /run/docker/containerd/containerd.pid
  dockerd --data-root "$DIR/data" --exec-root /run/docker -H "unix://$DIR/docker.sock" -p "$DIR/docker.pid" \\
    --storage-driver overlay2 --cgroup-parent "/$NAME" >>"$DIR/log" 2>&1 </dev/null &
  engine=$!
}
start
while read -r order; do
  case $order in
    kill) kill -9 "$engine"; wait "$engine" ;;
    start) start ;;
  esac
done
`;
const AROUND = `
unshare --net --mount --pid --fork --mount-proc --propagation private --kill-child sh -c "$INSIDE"
find /sys/fs/cgroup -depth -type d -path "*/$NAME*" -exec rmdir {} + 2>/dev/null
rm -rf --one-file-system "$DIR"
`;

const IMAGE = 'apiary-test:1';

/** A Docker Engine of a test's own, without a way to any registry, gone with the process that made it. */
export class DockerHost {
  readonly dir: string;
  readonly socketPath: string;
  readonly image = IMAGE;
  readonly #shell: ChildProcess;

  /** Why this machine cannot have one, or undefined. */
  static get obstacle(): string | undefined {
    if (process.getuid?.() !== 0) return 'root is needed for namespaces';
    const missing = ['/usr/sbin/dockerd', '/bin/busybox', '/usr/bin/unshare'].filter((path) => !existsSync(path));
    return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`;
  }

  static async start(): Promise<DockerHost> {
    const host = new DockerHost();
    try {
      await host.#answers();
      await host.#loadImage();
    } catch (error) {
      await host.stop();
      throw error;
    }
    return host;
  }

  private constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'apiary-engine-'));
    this.socketPath = join(this.dir, 'docker.sock');
    const name = `apiary-test-${process.pid}`;
    // In a process group of its own: Ctrl-C at the terminal is for the test, whose end then ends this.
    this.#shell = spawn('sh', ['-c', AROUND], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      env: { ...process.env, DIR: this.dir, NAME: name, INSIDE },
    });
  }

  async stop(): Promise<void> {
    this.#shell.stdin?.end();
    if (this.#shell.exitCode === null) await once(this.#shell, 'exit');
  }

  /** Ends the engine as a crash would. */
  kill(): void {
    this.#shell.stdin?.write('kill\n');
  }

  async restart(): Promise<void> {
    this.#shell.stdin?.write('start\n');
    await this.#answers();
  }

  async #answers(): Promise<void> {
    for (let tries = 0; tries < 600; tries++) {
      const status = await this.#request('GET', '/_ping').catch(() => 0);
      if (status === 200) return;
      if (this.#shell.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const log = existsSync(join(this.dir, 'log')) ? readFileSync(join(this.dir, 'log'), 'utf8') : '';
    throw new Error(`the test's dockerd does not answer; its log ends:\n${log.slice(-2_000)}`);
  }

  /** An image of nothing but busybox. */
  async #loadImage(): Promise<void> {
    const root = join(this.dir, 'image');
    for (const name of ['bin', 'proc', 'sys', 'dev', 'tmp', 'etc']) mkdirSync(join(root, name), { recursive: true });
    const make = 'cp /bin/busybox bin/ && for a in sh sleep true false; do ln -s busybox bin/$a; done && tar -c .';
    const tar = spawn('sh', ['-c', make], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    const [repo = '', tag = ''] = IMAGE.split(':');
    const query = new URLSearchParams({ fromSrc: '-', repo, tag });
    query.append('changes', 'CMD ["sleep","1d"]');
    query.append('changes', 'ENV PATH=/bin');
    const status = await this.#request('POST', `/v1.41/images/create?${query}`, tar.stdout);
    if (status !== 200) throw new Error(`cannot load the test image: status ${status}`);
  }

  #request(method: string, path: string, body?: NodeJS.ReadableStream): Promise<number> {
    return new Promise((resolve, reject) => {
      const request = http.request({ socketPath: this.socketPath, method, path, agent: false });
      request.on('error', reject);
      request.on('response', (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      });
      if (body === undefined) request.end();
      else body.pipe(request);
    });
  }
}
