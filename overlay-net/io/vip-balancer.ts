import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type BpfAttachType, BpfLink, BpfMap, BpfProgram, mount, unmount, unpin } from '@apiary/agent-native';
import { ApiaryError, systemCodeOf } from '@apiary/std';
import type { VipMember, VipRow } from '../core/index.js';
import { reconcile } from './bpf-table.js';
import {
  MEMBER_BYTES,
  memberEntry,
  ORIGIN_BYTES,
  VIP_BYTES,
  type VipMaps,
  vipEntry,
  vipPrograms,
} from './vip-programs.js';

const MOST_VIPS = 16_384;
const MOST_MEMBERS = 65_536;
/** Of sockets that are open at a time; the peer of one that is forgotten has its own address. */
const MOST_ORIGINS = 65_536;
/** Of these maps and what they mean: another one's are not taken over. */
const LAYOUT = 'vip-1';

export interface VipBalancerOptions {
  /** Of its own, for as long as the machine is up: what it holds in the kernel has its names there. */
  directory: string;
  /** Whose processes' sockets are meant; by default the root of the cgroup v2 tree. */
  cgroup?: string;
}

/**
 * Has sockets that connect to a VIP connect to a live task, in the kernel: nothing is done for each packet, and a
 * connection does not care what becomes of the set afterwards.
 *
 * Programs and maps have names in a BPF file system, so that they work while this process is away and the next one takes
 * them over. They are there only while there are VIPs. Not to be called while a call is under way.
 */
export class VipBalancer {
  readonly #directory: string;
  readonly #cgroup: string | undefined;
  #held: { maps: VipMaps; links: Map<BpfAttachType, BpfLink> } | undefined;

  /** Whether this host's kernel can have VIPs. @throws Error that says why not */
  static async probe(): Promise<void> {
    await cgroupRoot();
    const maps = await openMaps((_name, { type, key, value }) =>
      BpfMap.create({ type, keyBytes: key, valueBytes: value, maxEntries: 1 }),
    );
    try {
      for (const [attachType, instructions] of vipPrograms(maps)) {
        (await BpfProgram.load({ type: 'cgroup-sock-addr', attachType, instructions })).close();
      }
    } finally {
      for (const map of Object.values(maps)) map.close();
    }
  }

  constructor({ directory, cgroup }: VipBalancerOptions) {
    this.#directory = directory;
    this.#cgroup = cgroup;
  }

  /**
   * Makes the kernel as these say, and puts right what somebody changed.
   *
   * @returns what was put right, in words
   * @throws KernelError, ApiaryError that says why there can be no VIPs on this host
   */
  async ensure(rows: readonly VipRow[], members: readonly VipMember[]): Promise<string[]> {
    if (rows.length === 0) {
      await this.remove();
      return [];
    }
    const wasHeld = this.#held !== undefined;
    this.#held ??= await this.#open();
    const { maps } = this.#held;
    const repaired: string[] = [];
    // Who is on a network finds its VIPs complete.
    const [ofIpv6, ofIpv4] = [rows.filter(isIpv6), rows.filter((row) => !isIpv6(row))];
    const isOutdated = [
      await reconcile(maps.vips, ofIpv4.map(vipEntry)),
      await reconcile(maps.ipv6Vips, ofIpv6.map(vipEntry)),
    ];
    if (isOutdated.includes(true)) repaired.push('VIPs');
    if (await reconcile(maps.members, members.map(memberEntry))) repaired.push('who may use VIPs');
    const attached = await this.#ensureLinks(this.#held.maps, this.#held.links);
    return wasHeld ? [...repaired, ...attached] : [];
  }

  /** Lets go of all that is in the kernel, which goes on working. */
  close(): void {
    if (this.#held === undefined) return;
    for (const object of [...this.#held.links.values(), ...Object.values(this.#held.maps)]) object.close();
    this.#held = undefined;
  }

  /** Takes it all away, made by whichever process. */
  async remove(): Promise<void> {
    this.close();
    if (await isMounted(this.#directory)) {
      // A name is all that keeps a program attached, and another mount namespace may have a copy of the mount.
      await rm(join(this.#directory, LAYOUT), { recursive: true, force: true });
      await unmount(this.#directory, { flags: ['detach'] });
    }
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #open(): Promise<{ maps: VipMaps; links: Map<BpfAttachType, BpfLink> }> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    if (!(await isMounted(this.#directory))) {
      await mount({ source: 'bpf', target: this.#directory, type: 'bpf', flags: ['nosuid', 'nodev', 'noexec'] });
    }
    await mkdir(join(this.#directory, LAYOUT), { recursive: true });
    const maps = await openMaps((name, { type, key, value, maxEntries }) =>
      pinned(join(this.#directory, LAYOUT, name), BpfMap.openPinned, () =>
        BpfMap.create({
          type,
          keyBytes: key,
          valueBytes: value,
          maxEntries,
          name: `apiary_${name}`,
          // An LRU map cannot be without.
          ...(type === 'hash' && { flags: ['no-prealloc'] as const }),
        }),
      ),
    );
    return { maps, links: new Map() };
  }

  async #ensureLinks(maps: VipMaps, links: Map<BpfAttachType, BpfLink>): Promise<string[]> {
    const repaired: string[] = [];
    for (const [attachType, instructions] of vipPrograms(maps)) {
      const held = links.get(attachType);
      const path = join(this.#directory, LAYOUT, attachType);
      if (held !== undefined && (await isAttached(held))) {
        if (!(await exists(path))) await held.pin(path);
        continue;
      }
      const program = await BpfProgram.load({
        type: 'cgroup-sock-addr',
        attachType,
        instructions,
        name: `vip${attachType}`,
      });
      const left = held ?? (await BpfLink.openPinned(path).catch(() => undefined));
      if (left !== undefined && (await isAttached(left))) {
        // Of an earlier process, and perhaps an earlier version: in one step, so that no socket is missed.
        await left.update(program);
        links.set(attachType, left);
      } else {
        left?.close();
        await unpin(path).catch(() => {});
        const cgroup = this.#cgroup ?? (await cgroupRoot());
        const link = await program.link({ cgroup, attachType });
        await link.pin(path);
        links.set(attachType, link);
        repaired.push(`program at ${attachType}`);
      }
      program.close();
    }
    return repaired;
  }
}

interface MapShape {
  type: 'hash' | 'lru-hash';
  key: number;
  value: number;
  maxEntries: number;
}

/** @param open  by its name, which also the kernel has */
async function openMaps(open: (name: string, shape: MapShape) => Promise<BpfMap>): Promise<VipMaps> {
  return {
    vips: await open('vips', { type: 'hash', ...VIP_BYTES.ipv4, maxEntries: MOST_VIPS }),
    origins: await open('origins', { type: 'lru-hash', ...ORIGIN_BYTES.ipv4, maxEntries: MOST_ORIGINS }),
    ipv6Vips: await open('vips6', { type: 'hash', ...VIP_BYTES.ipv6, maxEntries: MOST_VIPS }),
    ipv6Origins: await open('origins6', { type: 'lru-hash', ...ORIGIN_BYTES.ipv6, maxEntries: MOST_ORIGINS }),
    members: await open('members', { type: 'hash', ...MEMBER_BYTES, maxEntries: MOST_MEMBERS }),
  };
}

function isIpv6({ vip }: VipRow): boolean {
  return vip.includes(':');
}

async function pinned(
  path: string,
  open: (path: string) => Promise<BpfMap>,
  make: () => Promise<BpfMap>,
): Promise<BpfMap> {
  try {
    return await open(path);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  }
  const map = await make();
  await map.pin(path);
  return map;
}

async function isAttached(link: BpfLink): Promise<boolean> {
  const { cgroupId = 0 } = await link.info();
  return cgroupId !== 0;
}

async function isMounted(directory: string): Promise<boolean> {
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  return mounts.split('\n').some((line) => line.split(' ')[1] === directory);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function cgroupRoot(): Promise<string> {
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  const tree = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, , type]) => type === 'cgroup2')?.[1];
  if (tree === undefined) throw new ApiaryError('failed-precondition', 'no cgroup v2 tree is mounted');
  return tree;
}
