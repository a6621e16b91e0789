import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { archive, file, header } from './tar.js';

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
  return archiveOf([busyboxLayer()], IMAGES);
}

/**
 * An archive for `POST /images/load` with images of the same layers.
 *
 * @param layers  tar archives, the lowest first
 * @param images  of each tag, what is in its configuration apart from what all have
 */
export function archiveOf(layers: readonly Buffer[], images: Readonly<Record<string, object>>): Buffer {
  const manifest: unknown[] = [];
  const entries = layers.map((layer, i) => file(`layer${i}.tar`, layer));
  const rootfs = { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) };
  for (const [tag, settings] of Object.entries(images)) {
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'x64' ? 'amd64' : process.arch,
        os: 'linux',
        created: '2020-01-01T00:00:00Z',
        config: { Env: ['PATH=/bin'], StopSignal: 'SIGKILL', ...settings },
        rootfs,
        history: layers.map(() => ({ created: '2020-01-01T00:00:00Z' })),
      }),
    );
    const name = `${sha256(config)}.json`;
    entries.push(file(name, config));
    manifest.push({ Config: name, RepoTags: [tag], Layers: layers.map((_, i) => `layer${i}.tar`) });
  }
  entries.push(file('manifest.json', Buffer.from(JSON.stringify(manifest))));
  return archive(entries);
}

/** The lowest layer of the images: a static busybox with its applets, and some users. */
export function busyboxLayer(): Buffer {
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
