import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const BUSYBOX = '/bin/busybox';

/** What is in the image's configuration, apart from what all have: one image each, with an id of its own. */
const IMAGES = {
  'busybox:test': { Cmd: ['sleep', '1d'] },
  'busybox:test2': { Cmd: ['sleep', '2d'], Labels: { v: '2' } },
  'busybox:hc': { Cmd: ['sleep', '1d'], Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 1_000_000_000 } },
};

const DIRECTORIES = ['bin', 'data', 'dev', 'etc', 'home', 'mnt', 'proc', 'root', 'run', 'sys', 'tmp', 'var', 'var/run'];

const FILES = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nalice:x:1000:1000::/home:/bin/sh\n',
  'etc/group': 'root:x:0:\ndaemon:x:1:\nalice:x:1000:\n',
};

/**
 * An archive for `POST /images/load` with the test images: `busybox:test`, `busybox:test2` (another id) and
 * `busybox:hc` (with a health check), around the machine's static busybox. The same busybox gives the same ids.
 * Their stop signal is SIGKILL, so that no test waits out a grace period.
 */
export function imageArchive(): Buffer {
  const layer = layerArchive();
  const diffId = `sha256:${sha256(layer)}`;
  const manifest: unknown[] = [];
  const entries = [file('layer.tar', layer)];
  for (const [tag, settings] of Object.entries(IMAGES)) {
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'x64' ? 'amd64' : process.arch,
        os: 'linux',
        created: '2020-01-01T00:00:00Z',
        config: { Env: ['PATH=/bin'], StopSignal: 'SIGKILL', ...settings },
        rootfs: { type: 'layers', diff_ids: [diffId] },
        history: [{ created: '2020-01-01T00:00:00Z' }],
      }),
    );
    const name = `${sha256(config)}.json`;
    entries.push(file(name, config));
    manifest.push({ Config: name, RepoTags: [tag], Layers: ['layer.tar'] });
  }
  entries.push(file('manifest.json', Buffer.from(JSON.stringify(manifest))));
  return archive(entries);
}

function layerArchive(): Buffer {
  const applets = execFileSync(BUSYBOX, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  return archive([
    ...DIRECTORIES.map((path) => header({ path: `${path}/`, type: '5', mode: path === 'tmp' ? 0o1777 : 0o755 })),
    ...Object.entries(FILES).map(([path, text]) => file(path, Buffer.from(text))),
    file('bin/busybox', readFileSync(BUSYBOX), 0o755),
    ...applets
      .filter((applet) => applet !== 'busybox')
      .map((applet) => header({ path: `bin/${applet}`, type: '2', mode: 0o777, target: 'busybox' })),
  ]);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

const BLOCK_BYTES = 512;

function archive(entries: Buffer[]): Buffer {
  return Buffer.concat([...entries, Buffer.alloc(2 * BLOCK_BYTES)]);
}

function file(path: string, bytes: Buffer, mode = 0o644): Buffer {
  const padding = Buffer.alloc((BLOCK_BYTES - (bytes.length % BLOCK_BYTES)) % BLOCK_BYTES);
  return Buffer.concat([header({ path, type: '0', mode, sizeBytes: bytes.length }), bytes, padding]);
}

/** A header block of the ustar format (POSIX.1-1988), owned by root and dated 1970. */
function header(entry: {
  path: string;
  type: '0' | '2' | '5';
  mode: number;
  sizeBytes?: number;
  target?: string;
}): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  block.write(entry.path, 0, 100, 'latin1');
  octal(entry.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(entry.sizeBytes ?? 0, 124, 12);
  octal(0, 136, 12);
  block.write(entry.type, 156, 'latin1');
  block.write(entry.target ?? '', 157, 100, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  // The checksum is taken with its own field full of spaces.
  block.fill(' ', 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}
