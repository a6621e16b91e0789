import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createNetworkNamespace, deleteNetworkNamespace } from '@apiary/agent-native';
import type { Test } from 'tap';
import { gatewaySubnet, readGatewaySubnet } from '../core/index.js';
import type { Answer, Order } from './gateway-host.fixture.js';
import { sh } from './own-network.fixture.js';

/** What a run that was killed has left behind. */
async function sweep(): Promise<void> {
  for (const name of readdirSync('/run/netns')) {
    const [, pid] = /^apiary-ingress-(\d+)-/.exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await deleteNetworkNamespace(`/run/netns/${name}`);
  }
}

/** A network namespace for as long as the test goes on: its path. */
export async function namespaceOf(t: Test, label: string): Promise<string> {
  mkdirSync('/run/netns', { recursive: true });
  await sweep();
  const path = `/run/netns/apiary-ingress-${process.pid}-${label}`;
  await createNetworkNamespace(path);
  t.teardown(() => deleteNetworkNamespace(path).catch(() => {}));
  return path;
}

/** A machine on the hosts' link. */
export class Machine {
  readonly path: string;
  readonly address: string;

  constructor(path: string, address: string) {
    this.path = path;
    this.address = address;
  }

  static async plugIn(t: Test, label: string, address: string): Promise<Machine> {
    const path = await namespaceOf(t, label);
    sh(`ip link show lan >/dev/null 2>&1 || { ip link add lan type bridge; ip link set lan up; }
      ip link add ${label} type veth peer name eth0 netns ${path.split('/').pop()}; ip link set ${label} master lan up`);
    const machine = new Machine(path, address);
    machine.sh(`ip addr add ${address}/24 dev eth0; ip link set eth0 up; ip link set lo up
      ip addr add ${machine.ipv6Address}/64 dev eth0 nodad`);
    return machine;
  }

  get ipv6Address(): string {
    return `2001:db8::${this.address.split('.').at(-1)}`;
  }

  sh(command: string): string {
    return sh(`nsenter --net=${this.path} sh -c '${command}'`);
  }

  /** What is answered to somebody who connects from here: who answers, and whom it sees. Empty for nothing. */
  ask(address: string, port = 8080): string {
    const args = [`--net=${this.path}`, 'busybox', 'nc', '-w', '1', address, String(port)];
    return spawnSync('nsenter', args, { encoding: 'utf8', input: '' }).stdout.trim();
  }

  /** A process that goes on here; what it is sent and says are lines. */
  talk(t: Test, code: string): { say: (line: string) => void; hear: () => Promise<string> } {
    const child = spawn('nsenter', [`--net=${this.path}`, process.execPath, '-e', code]);
    const heard: string[] = [];
    let wake = () => {};
    let rest = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        heard.push(...lines);
        wake();
      });
    }
    t.teardown(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'close');
    });
    return {
      say: (line) => child.stdin.write(`${line}\n`),
      hear: async () => {
        while (heard.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        return heard.shift() ?? '';
      },
    };
  }
}

/** One with a gateway network, in the hands of a process of its own. */
export class Host extends Machine {
  readonly index: number;
  readonly id: string;
  readonly repaired: string[] = [];
  readonly troubles: string[] = [];
  #process: ChildProcess | undefined;
  #orders = 0;
  #wake: (() => void)[] = [];
  readonly #answers = new Map<number, string>();

  constructor(machine: Machine, index: number) {
    super(machine.path, machine.address);
    this.index = index;
    this.id = `n${index}`;
  }

  get subnet(): string {
    return gatewaySubnet(this.index);
  }

  get gateway(): string {
    return readGatewaySubnet(this.subnet).gateway;
  }

  async start(): Promise<void> {
    const fixture = fileURLToPath(new URL('./gateway-host.fixture.js', import.meta.url));
    this.#process = spawn('nsenter', [`--net=${this.path}`, process.execPath, fixture], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#process.on('message', (answer: Answer) => {
      if ('repaired' in answer) this.repaired.push(...answer.repaired);
      else if ('trouble' in answer) this.troubles.push(answer.trouble);
      else this.#answers.set(answer.number, answer.refused);
      for (const wake of this.#wake.splice(0)) wake();
    });
    await this.order({ do: 'open', subnet: this.subnet });
  }

  async order(order: DistributiveOmit<Order, 'number'>): Promise<void> {
    const number = ++this.#orders;
    this.#process?.send({ ...order, number });
    await this.until(() => this.#answers.has(number));
    const refused = this.#answers.get(number);
    if (refused !== '') throw new Error(`${order.do} on ${this.id}: ${refused}`);
  }

  /** Resolves once it is so; looked at whenever the host says something. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  async kill(): Promise<void> {
    if (this.#process?.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGKILL');
    await once(this.#process, 'close');
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
