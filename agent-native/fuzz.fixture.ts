/**
 * Calls everything that the package and the addon offer with arguments that make no sense, and with some that nearly do.
 * Run in mount and network namespaces of its own, in an empty folder: `node fuzz.fixture.js SEED RUNS`.
 * Whatever is asked for, the process must live to print `survived`.
 */
import fc from 'fast-check';
import { type Binding, binding } from './binding.js';
import * as native from './index.js';
import { MessageWriter } from './netlink/message.js';

const [seed = 1, runs = 300] = process.argv.slice(2).map(Number);

/** Nothing may be asked of a path outside of the folder that the process runs in. */
const path = fc.oneof(
  fc.constantFrom(
    'a',
    'a/b',
    '',
    '.',
    '\0',
    'x'.repeat(5000),
    '/proc/self/ns/net',
    '/proc/self/ns/mnt',
    '/proc/1/ns/pid',
  ),
  fc.string().map((text) => `x${text}`),
);
const number = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY),
);
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.uint8Array({ minLength: 16, maxLength: 64 }).map((body) => {
    // Long enough to be taken for a message.
    const message = Buffer.from(body.subarray(0, body.length & ~3));
    message.writeUInt32LE(message.length, 0);
    message.writeUInt16LE(16 + ((message[4] ?? 0) % 90), 4);
    return message;
  }),
);
const words = fc.uint32Array({ maxLength: 12 });
const noPath = (value: unknown) => typeof value !== 'string' || !/^(\/|\.\.)/.test(value);
const anything = fc
  .anything({ withBigInt: true, withDate: true, withTypedArray: true, withSparseArray: true })
  .filter(noPath);
const argument = fc.oneof(
  path,
  number,
  bytes,
  words,
  anything,
  fc.boolean(),
  fc.constant(undefined),
  fc.constant(() => {}),
  fc.array(path, { maxLength: 4 }),
);

const own = await native.Netlink.open();
const map = await native.BpfMap.create({ type: 'hash', keyBytes: 4, valueBytes: 4, maxEntries: 16 }).catch(
  () => undefined,
);
const program = await native.BpfProgram.load({
  type: 'cgroup-skb',
  instructions: new native.Assembler().mov('r0', 1).exit().assemble(),
}).catch(() => undefined);
const handles = [map?.handle, program?.handle].filter((handle) => handle !== undefined);
const withHandle = handles.length === 0 ? argument : fc.oneof(argument, fc.constantFrom<unknown>(...handles));

/** What waits for the kernel's mounts or asks for a path that is not checked above is left to the tests of its own. */
const functions = Object.entries(binding as unknown as Record<string, unknown>).filter(
  ([name, value]) => typeof value === 'function' && !/^(Netlink|Fuse|bpfClose)/.test(name),
) as [string, (...args: unknown[]) => unknown][];

async function settle(call: () => unknown): Promise<void> {
  try {
    await call();
  } catch {
    // A refusal is what is wanted.
  }
}

await fc.assert(
  fc.asyncProperty(fc.constantFrom(...functions), fc.array(withHandle, { maxLength: 9 }), async ([, call], args) => {
    await settle(() => call(...args));
  }),
  { seed, numRuns: runs * 10 },
);

await fc.assert(
  fc.asyncProperty(
    fc.array(bytes, { maxLength: 5 }),
    words,
    words,
    fc.array(path),
    fc.boolean(),
    async (parts, plans, fixups, names, stops) => {
      const socket = new binding.NetlinkSocket();
      await settle(() => socket.open(undefined, 0, 4096));
      const messages = Buffer.concat(parts);
      const wellFormed = Uint32Array.from(parts, (_, i) => (i % 2) * 0x80000000);
      await settle(() => socket.run(messages, wellFormed, [], [], new Uint32Array(), stops));
      await settle(() => socket.run(messages, plans, names, names, fixups, stops));
      await settle(() => socket.close());
      await settle(() => socket.run(messages, plans, [], [], fixups, stops));
    },
  ),
  { seed, numRuns: runs },
);

await fc.assert(
  fc.asyncProperty(
    fc.array(argument, { maxLength: 6 }),
    fc.array(argument, { maxLength: 4 }),
    async (socketArgs, monitorArgs) => {
      const socket = new binding.NetlinkSocket() as unknown as Record<string, (...args: unknown[]) => unknown>;
      for (const method of ['run', 'open', 'run', 'close', 'close', 'open'])
        await settle(() => socket[method]?.(...socketArgs));
      await settle(() => socket.run?.call({}, ...socketArgs));
      const monitor = new binding.NetlinkMonitor() as unknown as Record<string, (...args: unknown[]) => unknown>;
      await settle(() => monitor.start?.(...monitorArgs));
      await settle(() => monitor.start?.(undefined, 0, Uint32Array.from(monitorArgs, Number), () => {}));
      for (const method of ['start', 'close', 'close']) await settle(() => monitor[method]?.(...monitorArgs));
    },
  ),
  { seed, numRuns: runs },
);

const changeKeys = fc.constantFrom(
  'add-link',
  'set-link',
  'delete-link',
  'add-address',
  'add-route',
  'delete-route',
  'add-rule',
  'add-neighbour',
  'add-fdb',
  'delete-fdb',
);
const settings = fc.dictionary(
  fc.constantFrom(
    'kind',
    'name',
    'link',
    'address',
    'destination',
    'gateway',
    'vxlan',
    'bridge',
    'peer',
    'family',
    'mac',
    'table',
    'mtu',
    'port',
    'to',
    'source',
    'namespace',
    'nextHops',
  ),
  fc.oneof(
    argument,
    fc.constantFrom('lo', 'bridge', 'vxlan', 'veth', 'ipv4', '10.0.0.1/8', 'default', 'self', '02:00:00:00:00:01', 1),
  ),
);
await fc.assert(
  fc.asyncProperty(
    fc.array(
      fc.record({
        do: changeKeys,
        link: settings,
        to: settings,
        address: settings,
        route: settings,
        rule: settings,
        neighbour: settings,
        fdb: settings,
      }),
      { maxLength: 4 },
    ),
    async (changes) => {
      await settle(() => own.apply(changes as unknown as native.Change[]));
      await settle(() => own.tryAll(changes as unknown as native.Change[]));
      const writer = new MessageWriter();
      await settle(() => writer.message(16, 0, undefined, () => writer.attributeText(1, changes as unknown as string)));
    },
  ),
  { seed, numRuns: runs },
);

await fc.assert(
  fc.asyncProperty(
    fc.uint8Array({ minLength: 8, maxLength: 160 }),
    fc.integer({ min: 0, max: 40 }),
    async (code, type) => {
      const load = binding.bpfLoad as Binding['bpfLoad'];
      const instructions = code.subarray(0, code.length & ~7);
      await settle(() => load(type, type, instructions, 'GPL', 'x', 2, handles.slice(0, 1), Uint32Array.from([0, 0])));
    },
  ),
  { seed, numRuns: runs },
);

await own.close();
process.stdout.write('survived\n');
