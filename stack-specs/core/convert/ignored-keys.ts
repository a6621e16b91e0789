import type { Fields } from './fields.js';

/** What to do instead of a key that a service of a swarm does not honour. */
const INSTEAD: Readonly<Record<string, string>> = {
  build:
    'nothing is built by a deploy: build the image, push it to a registry that all nodes reach, and name it in image',
  cgroup_parent: 'give it to the daemons of the hosts',
  container_name: 'tasks are named after their service, for there may be many of them',
  cpu_count: 'use deploy.resources.limits.cpus',
  cpu_percent: 'use deploy.resources.limits.cpus',
  cpu_period: 'use deploy.resources.limits.cpus',
  cpu_quota: 'use deploy.resources.limits.cpus',
  cpu_shares: 'use deploy.resources.reservations.cpus',
  cpus: 'use deploy.resources.limits.cpus',
  cpuset: 'use deploy.resources.limits.cpus',
  devices: 'a bind mount of the device shows it, but a task may not open it without privileges',
  domainname: 'write it into hostname',
  expose: 'services of a network reach all ports of each other',
  external_links: 'use networks',
  ipc: 'a task has its own',
  links: 'services of a network find each other by name',
  mac_address: "addresses are the cluster's to give",
  mem_limit: 'use deploy.resources.limits.memory',
  mem_reservation: 'use deploy.resources.reservations.memory',
  memswap_limit: 'use deploy.resources.limits.memory',
  network_mode: 'use networks; for the host\'s own, an external network with the name "host"',
  oom_kill_disable: 'a limit of memory is kept',
  pid: 'a task has its own',
  pids_limit: 'use deploy.resources.limits.pids',
  platform: 'use deploy.placement.constraints with node.platform.arch',
  privileged: 'tasks run without; cap_add gives single capabilities',
  pull_policy: 'an image is pulled where it is missing; --resolve-image says whether a tag is looked up again',
  userns_mode: 'give it to the daemons of the hosts',
  volumes_from: 'name the same volume in both services',
};

const WITHOUT_ADVICE = [
  'annotations',
  'attach',
  'blkio_config',
  'cgroup',
  'cgroupns_mode',
  'cpu_rt_period',
  'cpu_rt_runtime',
  'develop',
  'device_cgroup_rules',
  'gpus',
  'label_file',
  'mem_swappiness',
  'models',
  'post_start',
  'pre_stop',
  'provider',
  'pull_refresh_after',
  'runtime',
  'storage_opt',
  'use_api_socket',
  'uts',
];

/** Keys that the cluster honours when it is ours, and Docker's does not. */
const OURS = ['shm_size'];

/** Names every key that says something which will not be done. */
export function warnOfIgnoredKeys(service: Fields, isApiary: boolean): void {
  for (const key of service.keys()) {
    if (!service.has(key) || isHarmless(service, key)) continue;
    const advice = INSTEAD[key];
    if (advice !== undefined) service.warn(`is not honoured: ${advice}`, key);
    else if (WITHOUT_ADVICE.includes(key) || (OURS.includes(key) && !isApiary)) service.warn('is not honoured', key);
  }
  if (!isApiary && service.in('depends_on').keys().length > 0) {
    service.warn('is not honoured by this daemon: of all daemons only swarmd waits', 'depends_on');
  }
  if (service.text('restart') === 'no' && !service.in('deploy').has('restart_policy')) {
    service.warn('"no" says nothing to a service: write deploy.restart_policy.condition: none', 'restart');
  }
  for (const network of service.each('networks')) {
    for (const key of ['ipv4_address', 'ipv6_address', 'link_local_ips', 'mac_address', 'interface_name']) {
      if (network.has(key)) network.warn("is not honoured: addresses are the cluster's to give", key);
    }
  }
}

function isHarmless(service: Fields, key: string): boolean {
  const value = service.raw(key);
  return value === false || value === '' || (Array.isArray(value) && value.length === 0) || key === 'expose';
}
