/**
 * What the test hosts, the demo and the tests need of a machine: found out, said in sentences, installed.
 *
 * Plain JavaScript on Node's own modules alone: it runs before `npm ci` and before the build.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { arch } from 'node:os';
import { delimiter, join } from 'node:path';

const NODE_MINIMUM = [20, 19];

/** A root shell made by plain `su` lacks the sbin directories, where ip, iptables and dockerd live. */
const SEARCH_PATH = [
  ...new Set([
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/local/sbin',
    '/usr/sbin',
    '/sbin',
    '/usr/bin',
    '/bin',
  ]),
].filter((directory) => directory !== '');

/** The environment in which every tool named here is found. */
export const toolEnvironment = { ...process.env, PATH: SEARCH_PATH.join(delimiter) };

/** Debian package -> is what it brings there? From Debian 13 on the docker command is a package of its own. */
const PACKAGES = [
  ['docker.io', () => has('dockerd')],
  [debianRelease() >= 13 ? 'docker-cli' : 'docker.io', () => has('docker')],
  ['busybox-static', () => isStatic('/bin/busybox')],
  ['iproute2', () => has('ip') && has('tc')],
  ['iptables', () => has('iptables')],
  ['nftables', () => has('nft')],
  ['wireguard-tools', () => has('wg')],
  // Also where the kernel has WireGuard: the hosts are made alike.
  ['wireguard-go', () => has('wireguard-go')],
  ['util-linux', () => has('unshare') && has('nsenter') && has('setpriv') && has('flock')],
  ['perl-base', () => has('perl')],
  ['openssl', () => has('openssl')],
  // To compile the native addon.
  ['g++', () => has('g++')],
  ['make', () => has('make')],
  ['python3', () => has('python3')],
];

/** What images of the tests are made of or come from, and a real signer of certificates; without them their tests are skipped. */
const TEST_PACKAGES = [
  ['golang-cfssl', () => has('cfssl')],
  ['docker-registry', () => has('docker-registry')],
  ['redis-server', () => has('redis-server')],
  ['postgresql', () => existsSync('/usr/lib/postgresql')],
  // Installed, it does nothing until it is enabled, and the tests do that on test hosts alone.
  ['ufw', () => has('ufw')],
];

/** @returns {string[]} the Debian packages that must be installed first */
export function missingPackages() {
  return missingOf(PACKAGES);
}

/** @returns {string[]} the Debian packages that single tests need, and that are not there */
export function missingTestPackages() {
  return missingOf(TEST_PACKAGES);
}

function missingOf(packages) {
  return [...new Set(packages.filter(([, isThere]) => !isThere()).map(([name]) => name))];
}

/**
 * Installs what is missing with apt-get, which needs root.
 *
 * @param {(line: string) => void} say  told what is being installed
 * @param {() => string[]} missingNow  finds out what is missing
 * @throws {Error} whose message says what could not be installed, and why
 */
export function installMissing(say = () => {}, missingNow = missingPackages) {
  const missing = missingNow();
  if (missing.length === 0) return;
  const wanted = missing.join(' ');
  if (!has('apt-get'))
    throw new Error(`${wanted} missing, and this is no Debian with apt-get: install the same by hand`);
  say(`installing ${wanted}`);
  // The package lists of a fresh machine may be absent or old: they are fetched only when the install fails without.
  let result = aptGet(['install', '-y', '--no-install-recommends', ...missing]);
  if (result.status !== 0) {
    aptGet(['update']);
    result = aptGet(['install', '-y', '--no-install-recommends', ...missing]);
  }
  const still = missingNow();
  if (still.length === 0) return;
  const reason = `${result.stderr}${result.error?.message ?? ''}`.trim().split('\n').slice(-3).join(' / ');
  throw new Error(`cannot install ${still.join(' ')}: apt-get says: ${reason || 'nothing'}`);
}

/**
 * What this machine lacks that no package can bring. The kernel is asked by trying, in namespaces that end with the
 * question; what needs a tool that is not installed yet is left out, so ask again after `installMissing()`.
 *
 * @returns {string[]} sentences; empty when nothing is missing
 */
export function checkMachine() {
  const node = process.versions.node.split('.').map(Number);
  if (node[0] < NODE_MINIMUM[0] || (node[0] === NODE_MINIMUM[0] && node[1] < NODE_MINIMUM[1])) {
    return [`Node.js ${NODE_MINIMUM.join('.')} or later is needed; this is ${process.versions.node}.`];
  }
  if (process.platform !== 'linux') return [`Linux is needed for namespaces and cgroups; this is ${process.platform}.`];
  if (process.getuid?.() !== 0)
    return ['Root is needed to make network namespaces and to run dockerd; run it with sudo.'];
  return [...architectureGap(), ...kernelGaps()];
}

/** The link relay knows the number of the clock call on these two. */
function architectureGap() {
  return ['x64', 'arm64'].includes(arch()) ? [] : [`An x86-64 or 64-bit ARM machine is needed; this is ${arch()}.`];
}

const KERNEL_FEATURES = {
  veth: 'The kernel has no veth devices (CONFIG_VETH), which connect the hosts.',
  bridge: 'The kernel has no bridge (CONFIG_BRIDGE), which connects the hosts.',
  nat: 'iptables has no nat table here (CONFIG_IP_NF_NAT or CONFIG_NFT_NAT), which the Docker Engine needs.',
  overlay:
    'The kernel cannot mount overlayfs under /var/tmp (CONFIG_OVERLAY_FS), where the Docker Engine keeps images.',
  cgroup: 'No writable cgroups are mounted under /sys/fs/cgroup, which the Docker Engine needs.',
};

function kernelGaps() {
  if (!has('unshare')) return [];
  mkdirSync('/var/tmp', { recursive: true });
  const scratch = mkdtempSync('/var/tmp/apiary-check-');
  const probes = [
    `cd ${scratch} && mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m || echo MISSING overlay`,
    'g=$(ls -d /sys/fs/cgroup/memory /sys/fs/cgroup/cgroup.controllers | head -n1); [ -w "$g" ] || echo MISSING cgroup',
  ];
  if (has('ip')) {
    probes.push('ip link add name probe0 type veth peer name probe1 || echo MISSING veth');
    probes.push('ip link add name probe2 type bridge || echo MISSING bridge');
  }
  if (has('iptables')) probes.push('iptables -w -t nat -nL >&2 || echo MISSING nat');
  try {
    const unshared = ['--net', '--mount', '--uts', '--pid', '--fork', '--mount-proc', '--propagation', 'private'];
    const result = tool('unshare', [...unshared, 'sh', '-c', `echo MADE\n${probes.join('\n')}\ntrue`]);
    if (!result.stdout.includes('MADE')) {
      return [`Namespaces cannot be made here: ${result.stderr.trim() || 'unshare failed'}.`];
    }
    const gaps = [...result.stdout.matchAll(/^MISSING (\w+)$/gm)].map(([, name]) => KERNEL_FEATURES[name]);
    return gaps;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function tool(command, args) {
  return spawnSync(command, args, { encoding: 'utf8', env: toolEnvironment });
}

function aptGet(args) {
  // RUNLEVEL=1 keeps the packages from starting their daemons.
  const env = { ...toolEnvironment, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  return spawnSync('apt-get', ['-q', ...args], { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] });
}

function has(command) {
  return SEARCH_PATH.some((directory) => isExecutable(join(directory, command)));
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A program that runs in an empty root file system: an ELF file that asks for no interpreter (PT_INTERP, 3). */
function isStatic(path) {
  if (!isExecutable(path)) return false;
  const elf = readFileSync(path);
  if (elf.length < 64 || elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2) return false;
  const offset = Number(elf.readBigUInt64LE(32));
  const size = elf.readUInt16LE(54);
  const count = elf.readUInt16LE(56);
  for (let i = 0; i < count; i++) if (elf.readUInt32LE(offset + i * size) === 3) return false;
  return true;
}

/** Debian's major release, or 0 when this is not Debian. */
function debianRelease() {
  try {
    return Number.parseInt(readFileSync('/etc/debian_version', 'utf8'), 10) || 0;
  } catch {
    return 0;
  }
}
