import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ApiaryError } from '@apiary/std';
import type { Lab } from './lab.js';
import { DIES_WITH_US, mustRun } from './process.js';

/** What a host's link does to every frame, in both directions alike: a round trip takes twice the delay longer. */
export interface LinkQuality {
  delayMs?: number;
  lossPercent?: number;
}

interface Port {
  cut: boolean;
  /** The relay that delays and drops, between the host's port and a second one that is on the bridge in its place. */
  relay: { stop: () => Promise<void> } | undefined;
}

const MACHINE_HOST_NUMBER = 254;

/**
 * The hosts' network: a bridge in a namespace of its own, one veth into each host (eth0 there) and one into the
 * machine, which has the address .254. Nothing else of the machine's network is touched.
 */
export class Network {
  readonly #ports = new Map<number, Port>();

  private constructor(
    readonly lab: Lab,
    readonly pid: number,
    readonly relayScript: string,
  ) {}

  /**
   * @param pid          a process in the namespace that the bridge goes to
   * @param relayScript  the path of link-relay.pl
   */
  static async make(lab: Lab, pid: number, relayScript: string): Promise<Network> {
    const network = new Network(lab, pid, relayScript);
    await network.#ip(['link add br0 type bridge', 'link set br0 up', 'link set lo up']);
    await ipBatch(
      ['ip'],
      [
        `link add ${lab.name} type veth peer name machine netns ${pid}`,
        `addr add ${network.address(MACHINE_HOST_NUMBER)}/24 dev ${lab.name}`,
        `link set ${lab.name} up`,
      ],
    );
    await network.#ip(['link set machine master br0 up']);
    return network;
  }

  /** The address of host number n. */
  address(n: number): string {
    return `${this.lab.subnet}.${n}`;
  }

  /** Gives a host its eth0. It gets no default route, so that pulls of images fail at once. */
  async connect(n: number, pid: number): Promise<void> {
    // A fixed hardware address, as a host keeps its own when it is switched off: no neighbour need learn it anew.
    const mac = `06:${[...this.address(n).split('.')].map((octet) => Number(octet).toString(16).padStart(2, '0')).join(':')}:01`;
    await this.#ip([
      `link add p${n} type veth peer name eth0 address ${mac} netns ${pid}`,
      `link set p${n} master br0 up`,
    ]);
    await ipBatch(
      ['nsenter', '-t', `${pid}`, '--net', '--', 'ip'],
      ['link set lo up', `addr add ${this.address(n)}/24 dev eth0`, 'link set eth0 up'],
    );
    this.#ports.set(n, { cut: false, relay: undefined });
  }

  /** Takes a host's link away for good. */
  async disconnect(n: number): Promise<void> {
    await this.shape(n, undefined);
    await this.#ip([`link del p${n}`]);
    this.#ports.delete(n);
  }

  /** Cuts or heals a host's link. A cut link swallows every frame; its interface stays up on both sides. */
  async cut(n: number, cut: boolean): Promise<void> {
    const port = this.#port(n);
    port.cut = cut;
    await this.#ip([this.#attachment(n, port)]);
  }

  /** Sets what a host's link does to frames; undefined for nothing. */
  async shape(n: number, quality: LinkQuality | undefined): Promise<void> {
    const port = this.#port(n);
    if (port.relay !== undefined) {
      await port.relay.stop();
      port.relay = undefined;
      await this.#ip([`link del d${n}`, this.#attachment(n, port)]);
    }
    if (quality === undefined) return;
    const { delayMs = 0, lossPercent = 0 } = quality;
    if (!(delayMs >= 0 && lossPercent >= 0 && lossPercent <= 100)) {
      throw new ApiaryError('invalid-argument', `delayMs ${delayMs}, lossPercent ${lossPercent}: not a link's quality`);
    }
    await this.#ip([`link set p${n} nomaster`, `link add d${n} type veth peer name e${n}`, `link set e${n} up`]);
    await this.#ip([`link set d${n} up`]);
    port.relay = await this.#startRelay(`p${n}`, `e${n}`, delayMs, lossPercent);
    await this.#ip([this.#attachment(n, port)]);
  }

  async #startRelay(left: string, right: string, delayMs: number, lossPercent: number): Promise<Port['relay']> {
    const [program, ...setpriv] = DIES_WITH_US;
    const perl = ['perl', this.relayScript, left, right, `${delayMs}`, `${lossPercent}`];
    const args = [...setpriv, 'nsenter', '-t', `${this.pid}`, '--net', '--', ...perl];
    const relay = spawn(program, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const exited = once(relay, 'exit');
    this.lab.addProcess(relay.pid);
    const said: Buffer[] = [];
    relay.stderr.on('data', (chunk: Buffer) => said.push(chunk));
    const ready = await Promise.race([once(relay.stdout, 'data').then(() => true), exited.then(() => false)]);
    if (!ready) {
      throw new ApiaryError('internal', `link-relay.pl ended: ${Buffer.concat(said).toString().trim()}`);
    }
    relay.stdout.destroy();
    relay.stderr.destroy();
    relay.unref();
    const stop = async () => {
      relay.ref();
      relay.kill('SIGKILL');
      await exited;
      this.lab.forgetProcess(relay.pid);
    };
    return { stop };
  }

  #attachment(n: number, port: Port): string {
    const end = port.relay === undefined ? `p${n}` : `d${n}`;
    return port.cut ? `link set ${end} nomaster` : `link set ${end} master br0`;
  }

  #port(n: number): Port {
    const port = this.#ports.get(n);
    if (port === undefined) throw new ApiaryError('failed-precondition', `host h${n} has no link: it is powered off`);
    return port;
  }

  #ip(lines: readonly string[]): Promise<void> {
    return ipBatch(['nsenter', '-t', `${this.pid}`, '--net', '--', 'ip'], lines);
  }
}

async function ipBatch(ip: readonly string[], lines: readonly string[]): Promise<void> {
  await mustRun([...ip, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}
