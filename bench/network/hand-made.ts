import type { Host } from '@apiary/test/hosts';

/** Where its tasks would be: a network namespace of that name on each of the two hosts. */
const TASK = 'by-hand-task';
const BRIDGE = 'by-hand-bridge';

/** Before a command that runs on such a host, where a task would. */
export const BY_HAND = ['nsenter', `--net=/run/netns/${TASK}`, '--'] as const;

export const byHandAddress = (host: Host): string => `192.0.2.${host.number}`;

/** One layer-2 network over two hosts, as anybody would build it: a namespace with a bridge and a VXLAN device on each. */
export async function buildByHand(one: Host, two: Host): Promise<void> {
  await Promise.all([buildOn(one, two), buildOn(two, one)]);
}

async function buildOn(host: Host, other: Host): Promise<void> {
  const script = `set -e
    ip netns add ${TASK}; ip netns add ${BRIDGE}
    ip link add by-hand type vxlan id 4242 dstport 4799 local ${host.address} dev eth0
    ip link set by-hand netns ${BRIDGE}
    ip -n ${BRIDGE} link add name bridge type bridge
    ip -n ${BRIDGE} link set by-hand master bridge up mtu 1450
    bridge -n ${BRIDGE} fdb append 00:00:00:00:00:00 dev by-hand dst ${other.address}
    ip -n ${BRIDGE} link add name port mtu 1450 type veth peer name eth0 mtu 1450 netns ${TASK}
    ip -n ${BRIDGE} link set port master bridge up
    ip -n ${BRIDGE} link set bridge up
    ip -n ${TASK} link set lo up
    ip -n ${TASK} addr add ${byHandAddress(host)}/24 dev eth0
    ip -n ${TASK} link set eth0 up`;
  const { code, stdout, stderr } = await host.exec('sh', ['-c', script]);
  if (code !== 0) throw new Error(`the network by hand on ${host.name}: ${stdout}${stderr}`);
}
