import { generateKeyPairSync } from 'node:crypto';
import { type NamespaceRef, Netlink } from '@apiary/agent-native';
import { ApiaryError, type Clock, systemCodeOf } from '@apiary/std';
import {
  isTunnelAs,
  type NetworkState,
  readTunnelDump,
  type TunnelConfig,
  tunnelConfig,
  tunnelFile,
  WIREGUARD_BYTES,
} from '../core/index.js';
import { done, tried } from './command.js';
import { inodeOf, NetworkNamespace } from './network-namespace.js';

/** As long as Docker keeps a key of its encrypted networks. */
const KEY_LIFE_MS = 12 * 3_600_000;
const LINK = 'apwg';

export interface TunnelOptions {
  clock: Clock;
  /** Of the network namespace in which there is nothing but the tunnel. */
  path: string;
  /** The host's own, where what is encrypted comes from and goes to. */
  host: NamespaceRef;
  /** Of the link, which is also the name by which wg(8) knows it on this machine. */
  link?: string | undefined;
}

interface KeyPair {
  privateKey: string;
  publicKey: string;
}

/**
 * WireGuard to the other hosts, alone in a network namespace: what is sent from there has no other way than encrypted, and
 * what comes to there was. Whatever fails, nothing goes in the clear, as there is nothing that it could go by.
 *
 * By the kernel, or where that has none by wireguard-go, which goes on while this process is away, and keeps the key.
 */
export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #link: string;
  #key: KeyPair;
  #madeAtMs: number;
  /** To be used as soon as the others have heard of it. */
  #next: KeyPair | undefined;
  /** What was made last. */
  #made = '';
  /** Of the namespace that it is in. */
  #inode: number | undefined;
  /** Why there can be none. */
  readonly #lack: string;

  /** Takes over the key of a tunnel that is there. */
  static async open(options: TunnelOptions): Promise<Tunnel> {
    const lack = await lacks();
    const inode = await inodeOf(options.path);
    const facts = lack === '' && inode !== undefined ? await dump(options) : undefined;
    return new Tunnel(options, lack, facts ?? newKeyPair(), inode);
  }

  private constructor(
    options: TunnelOptions,
    lack: string,
    { privateKey, publicKey }: KeyPair,
    inode: number | undefined,
  ) {
    this.#options = options;
    this.#link = options.link ?? LINK;
    this.#lack = lack;
    this.#key = { privateKey, publicKey };
    this.#madeAtMs = options.clock.now();
    this.#inode = inode;
  }

  /** Which the other hosts are to know this one by; empty when it can have no tunnel. */
  get publicKey(): string {
    return this.#lack === '' ? (this.#next ?? this.#key).publicKey : '';
  }

  /** Makes another key when it is time. @returns whether `publicKey` is another now */
  rotate(): boolean {
    const nowMs = this.#options.clock.now();
    if (this.#lack !== '' || this.#next !== undefined || nowMs - this.#madeAtMs < KEY_LIFE_MS) return false;
    this.#next = newKeyPair();
    return true;
  }

  /**
   * Makes the tunnel as these say.
   *
   * @param isLooking  whatever is believed of it, look
   * @returns          whether it is in another namespace than before, with which what was made there goes, by and by
   * @throws ApiaryError `failed-precondition` when this host cannot have one, KernelError
   */
  async ensure(state: NetworkState, underlayMtu: number, isLooking: boolean): Promise<boolean> {
    if (this.#lack !== '') throw new ApiaryError('failed-precondition', this.#lack);
    const config = tunnelConfig(state);
    if (config === undefined) return false;
    if (this.#next !== undefined && state.nodes.get(state.selfId)?.wireguardKey === this.#next.publicKey) {
      this.#key = this.#next;
      this.#next = undefined;
      this.#madeAtMs = this.#options.clock.now();
    }
    const { privateKey } = this.#key;
    const wanted = JSON.stringify([config, privateKey, underlayMtu]);
    if (!isLooking && wanted === this.#made) return false;
    this.#made = '';
    const namespace = await NetworkNamespace.open(this.#options.path);
    let isNew: boolean;
    try {
      isNew = await this.#ensureLink(namespace, config, underlayMtu - WIREGUARD_BYTES);
    } finally {
      await namespace.close();
    }
    await this.#configure(config, privateKey, isNew);
    this.#made = wanted;
    const before = this.#inode;
    this.#inode = await inodeOf(this.#options.path);
    return before !== this.#inode;
  }

  async #configure(config: TunnelConfig, privateKey: string, isNew: boolean): Promise<void> {
    const facts = await dump(this.#options);
    if (facts !== undefined && isTunnelAs(config, privateKey, facts)) return;
    // The others may have sessions with the one before, and would send into them for a quarter of a minute. They begin anew
    // with the first packet from here: who is to be kept alive is sent one at once.
    if (isNew) await this.#sync(tunnelFile(config, privateKey, { keepaliveSeconds: 1 }));
    await this.#sync(tunnelFile(config, privateKey));
  }

  async #sync(file: string): Promise<void> {
    // It opens its file by name, which what Node gives a child for its input cannot be: it is no pipe.
    const script = `cat | wg syncconf ${this.#link} /dev/stdin`;
    await done('nsenter', [`--net=${this.#options.path}`, 'sh', '-c', script], file);
  }

  /** @returns whether it had to be made */
  async #ensureLink({ netlink, ref }: NetworkNamespace, { address }: TunnelConfig, mtu: number): Promise<boolean> {
    const present = await netlink.link(this.#link);
    if (present === undefined) await this.#makeLink(ref);
    const link = await netlink.link(this.#link);
    if (link === undefined) throw new ApiaryError('unavailable', 'WireGuard has not made its link');
    const own = `${address}/${address.includes(':') ? 128 : 32}`;
    const held = (await netlink.addresses({ link: link.index })).map((each) => each.address);
    for (const other of held.filter((each) => each !== own)) {
      await netlink.apply([{ do: 'delete-address', address: { link: link.index, address: other } }]);
    }
    if (!held.includes(own)) {
      await netlink.apply([{ do: 'add-address', address: { link: link.index, address: own } }]);
    }
    if (!link.isUp || link.mtu !== mtu) {
      await netlink.apply([{ do: 'set-link', link: link.index, to: { isUp: true, mtu } }]);
    }
    const family = address.includes(':') ? 'ipv6' : 'ipv4';
    const route = { destination: 'default', family, link: link.index, ifExists: 'replace' } as const;
    await netlink.apply([{ do: 'add-route', route }]);
    return present === undefined;
  }

  /** In the host's namespace, where its socket stays; the link itself is then put apart. */
  async #makeLink(namespace: NamespaceRef): Promise<void> {
    const { host } = this.#options;
    const netlink = await Netlink.open({ namespace: host });
    try {
      const link = { kind: 'wireguard', name: this.#link, namespace } as const;
      const refusal = await netlink.apply([{ do: 'add-link', link }]).catch((error: unknown) => error);
      if (refusal === undefined) return;
      if (systemCodeOf(refusal) !== 'EOPNOTSUPP') throw refusal;
      const inHost = [`--net=${'path' in host ? host.path : `/proc/${host.pid}/ns/net`}`];
      // It goes into the background, and there looks for its link here: answering, it has found it.
      await done('nsenter', [...inHost, 'setsid', 'sh', '-c', `wireguard-go ${this.#link} >/dev/null 2>&1`]);
      await done('nsenter', [...inHost, 'wg', 'show', this.#link]);
      await netlink.apply([{ do: 'set-link', link: this.#link, to: { namespace } }]);
    } finally {
      await netlink.close();
    }
  }

  /** Takes the tunnel away; nothing happens when there is none. */
  static async remove(path: string): Promise<void> {
    if ((await inodeOf(path)) === undefined) return;
    const namespace = await NetworkNamespace.open(path);
    try {
      // By which wireguard-go ends, too.
      const links = (await namespace.netlink.links()).filter(({ isLoopback }) => !isLoopback);
      await namespace.netlink.tryAll(links.map(({ index }) => ({ do: 'delete-link', link: index })));
    } finally {
      await namespace.close();
    }
    await NetworkNamespace.remove(path);
  }
}

async function dump({ path, link = LINK }: TunnelOptions) {
  const text = await tried('nsenter', [`--net=${path}`, 'wg', 'show', link, 'dump']);
  return text === undefined ? undefined : readTunnelDump(text);
}

/** What this host misses for a tunnel, in words; empty when nothing. */
async function lacks(): Promise<string> {
  const isInstalled = (tool: string) =>
    tried(tool, ['--version']).then(
      (said) => said !== undefined,
      () => false,
    );
  if (!(await isInstalled('wg'))) return 'encrypted networks need wg: install wireguard-tools';
  if ((await inodeOf('/sys/module/wireguard')) !== undefined || (await isInstalled('wireguard-go'))) return '';
  return 'encrypted networks need WireGuard, which this kernel has not: install wireguard-go';
}

function newKeyPair(): KeyPair {
  const { d = '', x = '' } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const base64 = (text: string) => Buffer.from(text, 'base64url').toString('base64');
  return { privateKey: base64(d), publicKey: base64(x) };
}
