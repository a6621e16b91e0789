import { binding, type NativeBpfObject } from '../binding.js';
import { nameOf } from '../netlink/fields.js';
import type { Instructions } from './assembler.js';
import { BpfObject, checkBpfName, KIND, lookUp, nativeCall } from './object.js';

const PROGRAM_TYPES = {
  'socket-filter': 1,
  'sched-cls': 3,
  xdp: 6,
  'cgroup-skb': 8,
  'cgroup-sock': 9,
  'sock-ops': 13,
  'cgroup-device': 15,
  'cgroup-sock-addr': 18,
  'cgroup-sysctl': 23,
  'cgroup-sockopt': 25,
} as const;

/** Where a program hooks in. */
const ATTACH_TYPES = {
  ingress: 0,
  egress: 1,
  'sock-create': 2,
  'sock-ops': 3,
  device: 6,
  bind4: 8,
  bind6: 9,
  connect4: 10,
  connect6: 11,
  'post-bind4': 12,
  'post-bind6': 13,
  sendmsg4: 14,
  sendmsg6: 15,
  sysctl: 18,
  recvmsg4: 19,
  recvmsg6: 20,
  getsockopt: 21,
  setsockopt: 22,
  getpeername4: 29,
  getpeername6: 30,
  getsockname4: 31,
  getsockname6: 32,
  'sock-release': 34,
  xdp: 37,
  'tcx-ingress': 46,
  'tcx-egress': 47,
} as const;

const ATTACH_FLAGS = { override: 1, multi: 2, replace: 4 } as const;
const QUERY_EFFECTIVE = 1;

export type BpfProgramType = keyof typeof PROGRAM_TYPES;
export type BpfAttachType = keyof typeof ATTACH_TYPES;

export interface BpfProgramOptions {
  type: BpfProgramType;
  /** Where it is meant for; types with several hooks are checked for one of them. */
  attachType?: BpfAttachType;
  instructions: Instructions;
  /** `GPL` where a helper function asks for it; that is the default. */
  license?: string;
  name?: string;
  /** How much the verifier says when it refuses: 1 is the path it followed, 2 every state on it. */
  logLevel?: 1 | 2;
}

export interface CgroupAttachment {
  /** A folder of the cgroup v2 tree. */
  cgroup: string;
  attachType: BpfAttachType;
}

/** A program that the kernel has checked and holds ready. */
export class BpfProgram extends BpfObject {
  readonly type: string;

  private constructor(native: NativeBpfObject) {
    super(KIND.program, native);
    this.type = nameOf(PROGRAM_TYPES, native.type);
  }

  /** @throws KernelError whose `text` is the verifier's log */
  static async load(options: BpfProgramOptions): Promise<BpfProgram> {
    const { instructions, license = 'GPL', name = '', logLevel = 1, attachType } = options;
    const type = lookUp(PROGRAM_TYPES, options.type, 'program type');
    const hook = attachType === undefined ? 0 : lookUp(ATTACH_TYPES, attachType, 'attach type');
    const maps = [...new Set(instructions.maps.map(({ map }) => map))];
    const places = Uint32Array.from(instructions.maps.flatMap(({ at, map }) => [at, maps.indexOf(map)]));
    return new BpfProgram(
      await nativeCall(async () =>
        binding.bpfLoad(
          type,
          hook,
          instructions.bytes,
          license,
          checkBpfName(name),
          logLevel,
          maps.map((map) => map.handle),
          places,
        ),
      ),
    );
  }

  static async openPinned(path: string): Promise<BpfProgram> {
    return new BpfProgram(await nativeCall(() => binding.bpfOpenPinned(KIND.program, path)));
  }

  static async openById(id: number): Promise<BpfProgram> {
    return new BpfProgram(await nativeCall(() => binding.bpfOpenById(KIND.program, id)));
  }

  /**
   * Attaches it to a cgroup and everything below. It stays when this process ends, until it is detached.
   *
   * `multi` lets others attach beside it, here and below; `override` lets those below be attached instead; without
   * either nothing else may be attached. With `replaced`, which must be attached as `multi`, takes its place in one step.
   */
  async attach(
    to: CgroupAttachment & { flags?: readonly ('override' | 'multi')[]; replaced?: BpfProgram },
  ): Promise<void> {
    const names = [...(to.flags ?? []), ...(to.replaced === undefined ? [] : (['replace'] as const))];
    const flags = names.reduce((all, flag) => all | lookUp(ATTACH_FLAGS, flag, 'attach flag'), 0);
    const hook = lookUp(ATTACH_TYPES, to.attachType, 'attach type');
    await nativeCall(async () => binding.bpfAttach(this.handle, to.cgroup, hook, flags, to.replaced?.handle));
  }

  /** @throws KernelError: `ENOENT` when it is not attached there */
  async detach(from: CgroupAttachment): Promise<void> {
    const hook = lookUp(ATTACH_TYPES, from.attachType, 'attach type');
    await nativeCall(async () => binding.bpfDetach(this.handle, from.cgroup, hook));
  }

  /** Attaches it to a cgroup, or to a link of this process's network namespace (tcx, xdp) by its index. */
  async link(to: { attachType: BpfAttachType } & ({ cgroup: string } | { linkIndex: number })): Promise<BpfLink> {
    const hook = lookUp(ATTACH_TYPES, to.attachType, 'attach type');
    const [cgroup, index] = 'cgroup' in to ? [to.cgroup, 0] : [undefined, to.linkIndex];
    return BpfLink.of(await nativeCall(async () => binding.bpfLink(this.handle, cgroup, index, hook, 0)));
  }

  async info(): Promise<{ id: number; type: string; name: string; tag: string; mapIds: number[] }> {
    const { id, type, name, tag, mapIds } = await nativeCall(async () => binding.bpfProgramInfo(this.handle));
    return { id, type: nameOf(PROGRAM_TYPES, type), name, tag: tag.toString('hex'), mapIds };
  }
}

/** An attachment with an owner: it ends when the link is closed, unless it is pinned. */
export class BpfLink extends BpfObject {
  private constructor(native: NativeBpfObject) {
    super(KIND.link, native);
  }

  /** Of what the addon made. */
  static of(native: NativeBpfObject): BpfLink {
    return new BpfLink(native);
  }

  static async openPinned(path: string): Promise<BpfLink> {
    return new BpfLink(await nativeCall(() => binding.bpfOpenPinned(KIND.link, path)));
  }

  static async openById(id: number): Promise<BpfLink> {
    return new BpfLink(await nativeCall(() => binding.bpfOpenById(KIND.link, id)));
  }

  /** Puts another program in the place of the attached one, in one step. */
  async update(program: BpfProgram): Promise<void> {
    await nativeCall(async () => binding.bpfLinkUpdate(this.handle, program.handle));
  }

  /** Detaches the program, for everybody who holds or has pinned the link. */
  async detach(): Promise<void> {
    await nativeCall(async () => binding.bpfLinkDetach(this.handle));
  }

  /** Where it is attached: `cgroupId`, the inode of the cgroup's folder, or `linkIndex`; 0 once it is detached. */
  async info(): Promise<{
    id: number;
    programId: number;
    cgroupId?: number;
    linkIndex?: number;
    attachType?: string;
  }> {
    const { id, programId, cgroupId, linkIndex, attachType } = await nativeCall(async () =>
      binding.bpfLinkInfo(this.handle),
    );
    return {
      id,
      programId,
      ...(cgroupId !== undefined && { cgroupId }),
      ...(linkIndex !== undefined && { linkIndex }),
      ...(attachType !== undefined && { attachType: nameOf(ATTACH_TYPES, attachType) }),
    };
  }
}

/**
 * The ids of the programs attached to a cgroup; with `isEffective`, those that run for its processes, inherited ones too.
 * Links' programs are among them.
 */
export async function attachedPrograms(
  at: CgroupAttachment & { isEffective?: boolean },
): Promise<{ programIds: number[]; flags: ('override' | 'multi')[] }> {
  const hook = lookUp(ATTACH_TYPES, at.attachType, 'attach type');
  const { ids, attachFlags } = await nativeCall(async () =>
    binding.bpfQuery(at.cgroup, hook, at.isEffective === true ? QUERY_EFFECTIVE : 0),
  );
  const flags = (['override', 'multi'] as const).filter((flag) => (attachFlags & ATTACH_FLAGS[flag]) !== 0);
  return { programIds: ids, flags };
}
