import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { invariant } from '@apiary/std';

/** What a netlink batch came to; indices are those of its messages. */
export interface NativeOutcome {
  done: number;
  errors: { message: number; errno: number; text: string }[];
  replies: { message: number; bytes: Buffer }[];
  interrupted: number[];
}

export interface NativeSocket {
  open(namespacePath: string | undefined, protocol: number, receiveBytes: number): Promise<void>;
  run(
    messages: Uint8Array,
    plans: Uint32Array,
    namespaces: readonly string[],
    names: readonly string[],
    fixups: Uint32Array,
    stopOnError: boolean,
  ): Promise<NativeOutcome>;
  /** All of the messages or none; the outcome has errors alone. */
  transact(messages: Uint8Array, plans: Uint32Array): Promise<NativeOutcome>;
  close(): Promise<void>;
}

export interface NativeMonitor {
  /** Calls `listener` with undefined once started, bytes, null after a loss, an error when it is over. */
  start(
    namespacePath: string | undefined,
    protocol: number,
    groups: Uint32Array,
    listener: (news: Buffer | Error | null | undefined) => void,
  ): void;
  close(): void;
}

/** A mounted FUSE file system. */
export interface NativeFuseChannel {
  /** Calls `listener` with the kernel's requests, and with an error when it is over. */
  start(source: string, target: string, flags: number, data: string, listener: (news: Buffer | Error) => void): void;
  reply(bytes: Uint8Array): void;
  close(): void;
}

/** A map, program or link held by the addon. Closed when it is told to be, or by the garbage collector. */
export interface NativeBpfObject {
  id: number;
  type: number;
  /** Opaque. */
  handle: object;
}

export interface NativeBpfMap extends NativeBpfObject {
  keyBytes: number;
  valueBytes: number;
  maxEntries: number;
}

/** What the C++ side exports, in its own words: see the comment above each function there. */
export interface Binding {
  NetlinkSocket: new () => NativeSocket;
  NetlinkMonitor: new () => NativeMonitor;
  FuseChannel: new () => NativeFuseChannel;
  mount(
    source: string | undefined,
    target: string,
    type: string | undefined,
    flags: number,
    thenFlags: number,
    data: string | undefined,
    mountNamespacePath: string | undefined,
  ): Promise<void>;
  unmount(target: string, flags: number, mountNamespacePath: string | undefined): Promise<void>;
  createNetworkNamespace(path: string): Promise<void>;
  deleteNetworkNamespace(path: string): Promise<void>;
  networkNamespaceCookie(networkNamespacePath: string | undefined): Promise<bigint>;
  socketPeer(descriptor: number): { pid: number; uid: number; gid: number };
  trimHeap(): void;
  openSocket(
    isStream: boolean,
    address: string,
    port: number,
    peerAddress: string,
    peerPort: number,
    networkNamespacePath: string | undefined,
    receiveBytes: number,
  ): Promise<number>;
  readSysctls(paths: readonly string[], networkNamespacePath: string | undefined): Promise<string[]>;
  writeSysctls(
    paths: readonly string[],
    values: readonly string[],
    networkNamespacePath: string | undefined,
  ): Promise<void>;
  bpfOpenPinned(kind: number, path: string): Promise<NativeBpfObject>;
  bpfOpenById(kind: number, id: number): Promise<NativeBpfObject>;
  bpfIds(kind: number): Promise<number[]>;
  bpfPin(kind: number, object: object, path: string): Promise<void>;
  bpfClose(object: object): void;
  bpfLoad(
    type: number,
    attachType: number,
    instructions: Uint8Array,
    license: string,
    name: string,
    logLevel: number,
    maps: readonly object[],
    mapPlaces: Uint32Array,
  ): Promise<NativeBpfObject>;
  bpfAttach(
    program: object,
    cgroup: string,
    attachType: number,
    flags: number,
    replaced: object | undefined,
  ): Promise<void>;
  bpfDetach(program: object, cgroup: string, attachType: number): Promise<void>;
  bpfQuery(cgroup: string, attachType: number, flags: number): Promise<{ ids: number[]; attachFlags: number }>;
  bpfLink(
    program: object,
    cgroup: string | undefined,
    linkIndex: number,
    attachType: number,
    flags: number,
  ): Promise<NativeBpfObject>;
  bpfLinkUpdate(link: object, program: object): Promise<void>;
  bpfLinkDetach(link: object): Promise<void>;
  bpfProgramInfo(program: object): Promise<{ id: number; type: number; name: string; tag: Buffer; mapIds: number[] }>;
  bpfLinkInfo(link: object): Promise<{
    id: number;
    type: number;
    programId: number;
    cgroupId?: number;
    linkIndex?: number;
    attachType?: number;
  }>;
  bpfMapCreate(
    type: number,
    keyBytes: number,
    valueBytes: number,
    maxEntries: number,
    flags: number,
    name: string,
    innerMap: object | undefined,
  ): Promise<NativeBpfObject>;
  bpfMapLookup(map: object, keys: Uint8Array): Promise<{ values: Buffer; found: Buffer }>;
  bpfMapUpdate(map: object, keys: Uint8Array, values: Uint8Array, flags: number): Promise<void>;
  bpfMapUpdateObject(map: object, key: Uint8Array, kind: number, object: object, flags: number): Promise<void>;
  bpfMapDelete(map: object, keys: Uint8Array): Promise<Buffer>;
  bpfMapEntries(map: object): Promise<{ keys: Buffer; values: Buffer }>;
  bpfMapFreeze(map: object): Promise<void>;
}

/** The compiled addon: a `prebuilds/` of this platform, or what a build on this machine left there. */
export const binding: Binding = load();

function load(): Binding {
  invariant(endianness() === 'LE', 'agent-native writes kernel structures for little-endian machines only');
  // The compiled file lies in dist/, its package one up.
  const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
  const require = createRequire(import.meta.url);
  const gypBuild = require('node-gyp-build') as (folder: string) => Binding;
  return gypBuild(packageFolder);
}
